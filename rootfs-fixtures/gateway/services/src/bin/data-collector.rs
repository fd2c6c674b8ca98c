//! Reads sensors, and publishes each value as a reading.

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel, sync_channel};
use std::time::{Duration, Instant};

use gateway_services::health::{Health, Watch};
use gateway_services::life::{self, Pulse, now};
use gateway_services::link::{Acks, Address, Event, Link};
use gateway_services::message::{Ids, Reading, topic};
use gateway_services::{config, forbidden, sensor};

const NAME: &str = "data-collector";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--try") {
        return forbidden::main(NAME, &[]);
    }
    life::run(NAME, collect)
}

fn collect() -> Result<(), String> {
    let (site, mut pulse) = (config::site()?, Pulse::new()?);
    let readings = topic(&site, "readings");
    // Bounded: while the broker is away, the sensors' own buffers fill next.
    let (out, samples) = sync_channel(100);
    sensor::start(&out)?;
    let (events, inbox) = channel();
    let id = format!("{site}-{NAME}");
    let link = Link::open(
        &Address::from_env("BROKER")?,
        &id,
        std::slice::from_ref(&readings),
        Acks::AtOnce,
        move |e| {
            let _ = events.send(e);
        },
    )?;
    let (mut watch, mut health) = (Watch::new(NAME, "broker"), Health::new(&site, NAME));
    let last = last_id(&inbox, &mut watch, &mut pulse);
    link.unsubscribe(&readings);
    let mut ids = Ids::after(last, now());
    let mut waiting = None;
    loop {
        for event in inbox.try_iter() {
            watch.see(&event);
            health.messages += u64::from(matches!(event, Event::Acked(_)));
        }
        pulse.beat(watch.up);
        health.report(&link, &[]);
        let sample = match waiting.take() {
            Some(sample) => sample,
            None => match samples.recv_timeout(Duration::from_millis(500)) {
                Ok(sample) => sample,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Err("all sensors have ended".to_owned()),
            },
        };
        let sensor::Sample { sensor, t, value } = sample.clone();
        let reading = Reading { id: ids.next(), t, sensor: sensor.to_owned(), value };
        let text = serde_json::to_vec(&reading).map_err(|e| e.to_string())?;
        if link.publish(reading.id, &readings, text, true) {
            ids.taken();
        } else {
            waiting = Some(sample);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The id of the last reading before this start, which the broker keeps.
///
/// Without a clock nothing else shows which ids are used.
fn last_id(inbox: &Receiver<Event>, watch: &mut Watch, pulse: &mut Pulse) -> Option<u64> {
    let mut up: Option<Instant> = None;
    loop {
        pulse.beat(false);
        if up.is_some_and(|t| t.elapsed() > Duration::from_secs(1)) {
            return None;
        }
        let Ok(event) = inbox.recv_timeout(Duration::from_millis(200)) else { continue };
        watch.see(&event);
        match &event {
            Event::Up => up = Some(Instant::now()),
            Event::Down(_) => up = None,
            Event::Message(m) => return serde_json::from_slice::<Reading>(m.payload()).ok().map(|r| r.id),
            Event::Acked(_) => {}
        }
    }
}
