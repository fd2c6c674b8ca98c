//! A connection to a broker that is made again whenever it breaks.
//!
//! A message that the broker has not acknowledged is sent again, in order, after each new connection. So a message arrives at
//! least once, and messages never overtake each other.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::{Client, Event as Step, MqttOptions, Packet, Publish, QoS, Transport};

use crate::config;
use crate::tls::{self, Files};

/// The address of a broker.
#[derive(Clone, Debug)]
pub enum Address {
    /// `unix:PATH`, a socket without TLS.
    ///
    /// The permissions of the directory decide who may connect.
    Local(String),
    /// `HOST:PORT`, with TLS.
    Remote(String, u16, Files),
}

impl Address {
    /// Reads the variable `name`, and for TLS `CA`, `CERT` and `KEY`.
    pub fn from_env(name: &str) -> Result<Address, String> {
        let text = config::required(name)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Address::Local(path.to_owned()));
        }
        let wrong = || format!("{name}={text}: must be HOST:PORT or unix:PATH");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let [ca, cert, key] = ["CA", "CERT", "KEY"].map(config::required);
        Ok(Address::Remote(host.to_owned(), port, Files { ca: ca?, cert: cert?, key: key? }))
    }

    fn options(&self, id: &str, acks: Acks) -> Result<MqttOptions, String> {
        let mut options = match self {
            Address::Local(path) => {
                let mut options = MqttOptions::new(id, path, 0);
                options.set_transport(Transport::Unix);
                options
            }
            Address::Remote(host, port, files) => {
                let mut options = MqttOptions::new(id, host, *port);
                options.set_transport(Transport::tls_with_config(tls::configuration(files)?));
                options
            }
        };
        options
            .set_keep_alive(Duration::from_secs(5))
            .set_clean_session(false)
            .set_manual_acks(acks == Acks::ByCaller)
            .set_inflight(WINDOW as u16)
            .set_max_packet_size(LONGEST, LONGEST);
        Ok(options)
    }
}

/// The longest packet.
const LONGEST: usize = 1 << 20;

/// Messages on their way without an acknowledgement.
const WINDOW: usize = 100;

/// Requests on their way to the connection's thread.
const REQUESTS: usize = 4096;

/// When a received message is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acks {
    /// When it is received.
    AtOnce,
    /// When the caller says so.
    ByCaller,
}

/// A change of the connection, or a message.
#[derive(Debug)]
pub enum Event {
    /// There is a connection.
    Up,
    /// There is none, and the reason.
    Down(String),
    /// A message of a subscribed topic.
    Message(Incoming),
    /// The broker has the message that was published with this tag.
    Acked(u64),
}

/// A received message.
#[derive(Debug)]
pub struct Incoming {
    publish: Publish,
    run: u64,
}

impl Incoming {
    /// Its topic.
    pub fn topic(&self) -> &str {
        &self.publish.topic
    }

    /// Its content.
    pub fn payload(&self) -> &[u8] {
        &self.publish.payload
    }

    /// Whether the broker had kept it from before the subscription.
    pub fn retained(&self) -> bool {
        self.publish.retain
    }
}

struct Outgoing {
    tag: u64,
    topic: String,
    payload: Vec<u8>,
    retain: bool,
}

#[derive(Default)]
struct State {
    client: Option<Client>,
    topics: Vec<String>,
    pending: VecDeque<Outgoing>,
    /// The number of the connection.
    run: u64,
}

impl State {
    fn send(&self, message: &Outgoing) {
        if let Some(client) = &self.client {
            let _ =
                client.try_publish(&message.topic, QoS::AtLeastOnce, message.retain, message.payload.clone());
        }
    }
}

/// The connection.
#[derive(Clone)]
pub struct Link(Arc<Mutex<State>>);

impl Link {
    /// Connects as client `id` in a thread, which hands all events to `sink`.
    pub fn open<F>(
        address: &Address,
        id: &str,
        topics: &[String],
        acks: Acks,
        sink: F,
    ) -> Result<Link, String>
    where
        F: Fn(Event) + Send + 'static,
    {
        let options = address.options(id, acks)?;
        let link = Link(Arc::new(Mutex::new(State { topics: topics.to_vec(), ..State::default() })));
        let inner = link.clone();
        std::thread::spawn(move || inner.work(&options, &sink));
        Ok(link)
    }

    /// Whether another message is accepted.
    pub fn has_room(&self) -> bool {
        self.state().pending.len() < WINDOW
    }

    /// Publishes a message at least once.
    ///
    /// It returns false if too many are on their way.
    pub fn publish(&self, tag: u64, topic: &str, payload: Vec<u8>, retain: bool) -> bool {
        let mut state = self.state();
        if state.pending.len() >= WINDOW {
            return false;
        }
        let message = Outgoing { tag, topic: topic.to_owned(), payload, retain };
        state.send(&message);
        state.pending.push_back(message);
        true
    }

    /// Publishes a message at most once, for messages that may be lost.
    pub fn mention(&self, topic: &str, payload: Vec<u8>) {
        if let Some(client) = &self.state().client {
            let _ = client.try_publish(topic, QoS::AtMostOnce, true, payload);
        }
    }

    /// Acknowledges a received message.
    ///
    /// If the connection that brought it is gone, the broker sends it again.
    pub fn ack(&self, message: &Incoming) {
        let state = self.state();
        if let (true, Some(client)) = (state.run == message.run, &state.client) {
            let _ = client.try_ack(&message.publish);
        }
    }

    /// Subscribes to a further topic.
    pub fn subscribe(&self, topic: &str) {
        let mut state = self.state();
        if let Some(client) = &state.client {
            let _ = client.try_subscribe(topic, QoS::AtLeastOnce);
        }
        state.topics.push(topic.to_owned());
    }

    /// Ends a subscription.
    pub fn unsubscribe(&self, topic: &str) {
        let mut state = self.state();
        if let Some(client) = &state.client {
            let _ = client.try_unsubscribe(topic);
        }
        state.topics.retain(|t| t != topic);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, options: &MqttOptions, sink: &impl Fn(Event)) {
        loop {
            let why = self.connect(options, sink);
            self.state().client = None;
            sink(Event::Down(why));
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Connects once, and returns why the connection ended.
    fn connect(&self, options: &MqttOptions, sink: &impl Fn(Event)) -> String {
        let (client, mut connection) = Client::new(options.clone(), REQUESTS);
        for step in connection.iter() {
            match step {
                Ok(Step::Incoming(Packet::ConnAck(_))) => {
                    self.connected(&client);
                    sink(Event::Up);
                }
                Ok(Step::Incoming(Packet::PubAck(_))) => {
                    // Brokers acknowledge in the order of the messages (MQTT 3.1.1, 4.6).
                    let acked = self.state().pending.pop_front();
                    if let Some(message) = acked {
                        sink(Event::Acked(message.tag));
                    }
                }
                Ok(Step::Incoming(Packet::Publish(publish))) => {
                    let run = self.state().run;
                    sink(Event::Message(Incoming { publish, run }));
                }
                Ok(Step::Incoming(Packet::Disconnect)) => {
                    return "the broker ended the connection".to_owned();
                }
                Ok(_) => {}
                Err(e) => return e.to_string(),
            }
        }
        "the connection ended".to_owned()
    }

    fn connected(&self, client: &Client) {
        let mut state = self.state();
        state.run += 1;
        for topic in &state.topics {
            let _ = client.try_subscribe(topic, QoS::AtLeastOnce);
        }
        state.client = Some(client.clone());
        for message in &state.pending {
            state.send(message);
        }
    }
}
