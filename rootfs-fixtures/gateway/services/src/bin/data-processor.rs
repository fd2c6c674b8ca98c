//! Sums up the readings of each window, and raises alarms.

use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use gateway_services::forbidden::Right;
use gateway_services::health::{Health, Watch};
use gateway_services::life::{self, Pulse, now};
use gateway_services::link::{Acks, Address, Event, Link};
use gateway_services::message::{Alarm, Reading, topic};
use gateway_services::window::Window;
use gateway_services::{config, forbidden, volume};

const NAME: &str = "data-processor";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--try") {
        return forbidden::main(NAME, &[Right::Files]);
    }
    life::run(NAME, process)
}

fn process() -> Result<(), String> {
    let (site, mut pulse) = (config::site()?, Pulse::new()?);
    let dir = config::optional("DATA").unwrap_or_else(|| "/data".to_owned());
    let failed = |e: std::io::Error| format!("{dir}: {e}");
    let (low, high) = (config::parsed("LOW", f64::NEG_INFINITY)?, config::parsed("HIGH", f64::INFINITY)?);
    let length = config::parsed("WINDOW_MS", 1000)? * 1000;
    let hog = config::optional("HOG");
    let _volume = volume::own(Path::new(&dir)).map_err(failed)?;
    let mut window = Window::open(Path::new(&dir)).map_err(failed)?;
    let (events, inbox) = channel();
    let (results, alarms) = (topic(&site, "results"), topic(&site, "alarms"));
    let id = format!("{site}-{NAME}");
    let link = Link::open(
        &Address::from_env("BROKER")?,
        &id,
        &[topic(&site, "readings")],
        Acks::ByCaller,
        move |e| {
            let _ = events.send(e);
        },
    )?;
    let (mut watch, mut health) = (Watch::new(NAME, "broker"), Health::new(&site, NAME));
    loop {
        let mut time = now();
        match inbox.recv_timeout(Duration::from_millis(100)) {
            Ok(Event::Message(message)) => {
                // A reading that was kept by the broker is not new, and comes again if it is.
                if let Ok(reading) = serde_json::from_slice::<Reading>(message.payload()) {
                    let alarm = !(low..=high).contains(&reading.value);
                    let counts = reading.id > window.last();
                    // The reading's time ends the window. By the clock, a processor that is late would end one with each reading,
                    // and a flush for each would keep it late.
                    time = reading.t;
                    // The alarm comes first: it must not wait for the medium.
                    if counts && alarm {
                        let text = Alarm { id: reading.id, t: now(), read: reading.t, value: reading.value };
                        send(&link, text.id, &alarms, &text)?;
                    }
                    health.messages += u64::from(window.add(&reading).map_err(failed)?);
                }
                link.ack(&message);
            }
            Ok(event) => watch.see(&event),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("the connection's thread has ended".to_owned()),
        }
        pulse.beat(watch.up);
        if hog.as_ref().is_some_and(|path| std::fs::remove_file(path).is_ok()) {
            take_all_memory();
        }
        health.report(&link, &[]);
        if let Some(summary) = window.summary(time, length) {
            send(&link, summary.id, &results, &summary)?;
            window.restart().map_err(failed)?;
        }
    }
}

/// Publishes a message; it waits while too many are on their way.
fn send(link: &Link, tag: u64, topic: &str, message: &impl serde::Serialize) -> Result<(), String> {
    let text = serde_json::to_vec(message).map_err(|e| e.to_string())?;
    while !link.publish(tag, topic, text.clone(), false) {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Stands for a leak: it ends when the kernel kills the process.
fn take_all_memory() {
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1u8; 1 << 20]);
        std::hint::black_box(&taken);
    }
}
