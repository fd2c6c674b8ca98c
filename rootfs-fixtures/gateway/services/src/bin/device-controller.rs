//! Sets an actuator on signed commands and on alarms.
//!
//! The actuator goes to its safe state when the data-processor is silent.

use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use gateway_services::bus::Actuator;
use gateway_services::command::Gate;
use gateway_services::health::{Health, Watch};
use gateway_services::life::{self, Pulse, now};
use gateway_services::link::{Acks, Address, Event, Incoming, Link};
use gateway_services::message::{Done, Ids, topic};
use gateway_services::sign::public_key;
use gateway_services::{config, forbidden};

const NAME: &str = "device-controller";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--try") {
        return forbidden::main(NAME, &[]);
    }
    life::run(NAME, control)
}

struct Controller {
    link: Link,
    actuator: Actuator,
    gate: Gate,
    ids: Ids,
    done: String,
    value: u8,
    safe: u8,
    on_alarm: Option<u8>,
    silent: bool,
    heard: Instant,
}

fn control() -> Result<(), String> {
    let (site, mut pulse) = (config::site()?, Pulse::new()?);
    let key = public_key(
        &config::optional("COMMAND_KEY").unwrap_or_else(|| "/etc/gateway/command.pub".to_owned()),
    )?;
    let actuator = Actuator::new(&config::required("ACTUATOR")?, config::parsed("ACTUATOR_LINE", 0)?);
    let silence = Duration::from_millis(config::parsed("SILENT_MS", 3000)?);
    let (events, inbox) = channel();
    let topics = ["commands", "alarms", "results"].map(|kind| topic(&site, kind));
    let id = format!("{site}-{NAME}");
    let link = Link::open(&Address::from_env("BROKER")?, &id, &topics, Acks::AtOnce, move |e| {
        let _ = events.send(e);
    })?;
    let safe = config::parsed("SAFE", 0u8)?;
    let mut controller = Controller {
        link: link.clone(),
        actuator,
        gate: Gate::new(&site, key, now(), config::parsed("FRESH_MS", 10_000u64)? * 1000),
        ids: Ids::after(None, now()),
        done: topic(&site, "done"),
        value: safe,
        safe,
        on_alarm: config::optional("ON_ALARM").map(|_| config::parsed("ON_ALARM", 1)).transpose()?,
        silent: true,
        heard: Instant::now(),
    };
    let (mut watch, mut health) = (Watch::new(NAME, "broker"), Health::new(&site, NAME));
    controller.act("start", 0, safe);
    loop {
        match inbox.recv_timeout(Duration::from_millis(100)) {
            Ok(Event::Message(message)) => {
                health.messages += 1;
                controller.obey(&message);
            }
            Ok(event) => watch.see(&event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("the connection's thread has ended".to_owned()),
        }
        if !controller.silent && controller.heard.elapsed() > silence {
            controller.silent = true;
            controller.act("silence", 0, safe);
        }
        pulse.beat(watch.up);
        health
            .report(&link, &[("value", u64::from(controller.value)), ("safe", u64::from(controller.silent))]);
    }
}

impl Controller {
    fn obey(&mut self, message: &Incoming) {
        if message.topic().ends_with("/commands") {
            match self.gate.accept(message.payload(), now()) {
                // Without the data-processor nobody sees what the actuator does.
                Ok(command) if self.silent && command.value != self.safe => {
                    self.report("refused", command.n, "the data-processor is silent".to_owned());
                }
                Ok(command) => self.act("command", command.n, command.value),
                Err(why) => self.report("refused", 0, why),
            }
            return;
        }
        self.heard = Instant::now();
        self.silent = false;
        if let (true, Some(value)) = (message.topic().ends_with("/alarms"), self.on_alarm) {
            self.act("alarm", 0, value);
        }
    }

    fn act(&mut self, cause: &str, n: u64, value: u8) {
        match self.actuator.set(value) {
            Ok(()) => {
                self.value = value;
                self.report(cause, n, String::new());
            }
            Err(why) => {
                eprintln!("{NAME}: {why}");
                self.report("refused", n, why);
            }
        }
    }

    fn report(&mut self, cause: &str, n: u64, why: String) {
        let done = Done { id: self.ids.next(), t: now(), cause: cause.to_owned(), n, value: self.value, why };
        let Ok(text) = serde_json::to_vec(&done) else { return };
        if self.link.publish(done.id, &self.done, text, false) {
            self.ids.taken();
        } else {
            eprintln!("{NAME}: not reported, the broker is away: {done:?}");
        }
    }
}
