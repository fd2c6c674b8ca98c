//! Stores the site's messages, and forwards them to the cloud in order.
//!
//! It also brings the cloud's commands to the site.

use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use gateway_services::forbidden::Right;
use gateway_services::health::{Health, Watch};
use gateway_services::life::{self, Pulse};
use gateway_services::link::{Acks, Address, Event, Incoming, Link};
use gateway_services::message::topic;
use gateway_services::queue::{Entry, Queue};
use gateway_services::{config, forbidden, volume};

const NAME: &str = "uplink";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--try") {
        return forbidden::main(NAME, &[Right::Files, Right::Network]);
    }
    life::run(NAME, forward)
}

enum Side {
    Site(Event),
    Cloud(Event),
}

struct Uplink {
    queue: Queue,
    site: Link,
    cloud: Link,
    /// Received, but not stored and not acknowledged.
    held: Vec<Incoming>,
    stored: u64,
    forwarded: u64,
    watches: (Watch, Watch),
    verbose: bool,
}

fn forward() -> Result<(), String> {
    let (name, mut pulse) = (config::site()?, Pulse::new()?);
    let dir = config::optional("DATA").unwrap_or_else(|| "/data".to_owned());
    let limit = config::parsed("QUEUE_MB", 64u64)? << 20;
    let _volume = volume::own(Path::new(&dir)).map_err(|e| format!("{dir}: {e}"))?;
    let queue =
        Queue::open(Path::new(&dir), limit, (limit / 16).max(4096)).map_err(|e| format!("{dir}: {e}"))?;
    let (events, inbox) = channel();
    let id = format!("{name}-{NAME}");
    let up = ["readings", "results", "alarms", "done"].map(|kind| topic(&name, kind));
    let sink = |to: Sender<Side>, side: fn(Event) -> Side| move |e: Event| drop(to.send(side(e)));
    let site = Link::open(
        &Address::from_env("BROKER")?,
        &id,
        &up,
        Acks::ByCaller,
        sink(events.clone(), Side::Site),
    )?;
    let down = [topic(&name, "commands")];
    let cloud =
        Link::open(&Address::from_env("CLOUD")?, &id, &down, Acks::ByCaller, sink(events, Side::Cloud))?;
    let mut health = Health::new(&name, NAME);
    let mut uplink = Uplink {
        queue,
        site,
        cloud,
        held: Vec::new(),
        stored: 0,
        forwarded: 0,
        watches: (Watch::new(NAME, "broker"), Watch::new(NAME, "cloud")),
        verbose: config::parsed("VERBOSE", 0u8)? != 0,
    };
    loop {
        match inbox.recv_timeout(Duration::from_millis(500)) {
            Ok(side) => uplink.take(side)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err("the connections' threads have ended".to_owned());
            }
        }
        // One flush of the medium serves all messages that wait.
        for side in inbox.try_iter() {
            uplink.take(side)?;
        }
        uplink.store().map_err(|e| format!("{dir}: {e}"))?;
        uplink.send().map_err(|e| format!("{dir}: {e}"))?;
        pulse.beat(uplink.watches.0.up);
        health.messages = uplink.forwarded;
        let more = [
            ("stored", uplink.stored),
            ("waiting", uplink.queue.waiting()),
            ("cloud", u64::from(uplink.watches.1.up)),
        ];
        health.report(&uplink.site, &more);
    }
}

impl Uplink {
    fn take(&mut self, side: Side) -> Result<(), String> {
        match side {
            Side::Site(Event::Message(message)) => self.held.push(message),
            Side::Cloud(Event::Message(message)) => {
                // If there is no room, the command is not acknowledged, and the cloud's broker sends it again.
                if self.site.publish(0, message.topic(), message.payload().to_vec(), false) {
                    self.cloud.ack(&message);
                }
            }
            Side::Cloud(Event::Acked(index)) => {
                self.queue.finish(index).map_err(|e| format!("the cursor: {e}"))?;
                self.forwarded += 1;
            }
            Side::Site(event) => {
                // The broker repeats messages without an acknowledgement over the next connection.
                if matches!(event, Event::Down(_)) {
                    self.held.clear();
                }
                self.watches.0.see(&event);
            }
            Side::Cloud(event) => self.watches.1.see(&event),
        }
        Ok(())
    }

    /// Stores the received messages and acknowledges them.
    ///
    /// A full queue acknowledges nothing, so that the broker keeps the rest.
    fn store(&mut self) -> std::io::Result<()> {
        if self.held.is_empty() || !self.queue.has_room() {
            return Ok(());
        }
        let entry = |m: &Incoming| Entry { topic: m.topic().to_owned(), payload: m.payload().to_vec() };
        let entries: Vec<Entry> = self.held.iter().map(entry).collect();
        self.stored += self.queue.store(&entries)? as u64;
        for message in self.held.drain(..) {
            if self.verbose {
                println!("acknowledged {} {}", message.topic(), String::from_utf8_lossy(message.payload()));
            }
            self.site.ack(&message);
        }
        Ok(())
    }

    fn send(&mut self) -> std::io::Result<()> {
        while self.cloud.has_room() {
            let Some((index, entry)) = self.queue.take()? else { break };
            self.cloud.publish(index, &entry.topic, entry.payload, false);
        }
        Ok(())
    }
}
