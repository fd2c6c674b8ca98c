//! Fetches signed firmware from the cloud into the inactive slot.
//!
//! Then it switches the slots, and confirms the new image or rolls back.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use gateway_services::firmware::{Next, Updater};
use gateway_services::forbidden::Right;
use gateway_services::health::{Health, Watch};
use gateway_services::life::{self, Pulse, now};
use gateway_services::link::{Acks, Address, Event, Link};
use gateway_services::message::{Summary, topic};
use gateway_services::sign::public_key;
use gateway_services::slots::{IMAGE, Slots, device};
use gateway_services::{config, forbidden};

const NAME: &str = "firmware-updater";

/// How long it waits for its slots.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--try") {
        return forbidden::main(NAME, &[Right::Files, Right::Network, Right::Processes]);
    }
    life::run(NAME, update)
}

/// Opens a slot.
///
/// Some hosts allow it only once the container runs (`embrun device add`).
fn open_slot(path: &str) -> Result<File, String> {
    let end = Instant::now() + PATIENCE;
    loop {
        match device(path) {
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(50)),
            other => return other,
        }
    }
}

/// Opens both slots, and returns the size of the largest image that fits either.
fn open_slots() -> Result<(Slots<File>, u64), String> {
    let paths = [config::required("SLOT_A")?, config::required("SLOT_B")?];
    let devices = [open_slot(&paths[0])?, open_slot(&paths[1])?];
    let mut room = u64::MAX;
    for (device, path) in devices.iter().zip(&paths) {
        let size = (&*device).seek(SeekFrom::End(0)).map_err(|e| format!("{path}: {e}"))?;
        room = room.min(size.saturating_sub(IMAGE));
    }
    Ok((Slots(devices), room))
}

fn update() -> Result<(), String> {
    let (site, mut pulse) = (config::site()?, Pulse::new()?);
    let key = public_key(
        &config::optional("FIRMWARE_KEY").unwrap_or_else(|| "/etc/gateway/firmware.pub".to_owned()),
    )?;
    let (slots, room) = open_slots()?;
    let patience = config::parsed("CONFIRM_MS", 30_000u64)? * 1000;
    let mut updater = Updater::new(slots, key, room, patience, now())?;
    let (events, inbox) = channel();
    let (manifest, results) = (topic(&site, "firmware"), topic(&site, "results"));
    let status = topic(&site, "firmware/status");
    let id = format!("{site}-{NAME}");
    let link = Link::open(
        &Address::from_env("CLOUD")?,
        &id,
        &[manifest.clone(), results.clone()],
        Acks::AtOnce,
        move |e| {
            let _ = events.send(e);
        },
    )?;
    let (mut watch, mut health) = (Watch::new(NAME, "cloud"), Health::new(&site, NAME));
    let mut switched = now();
    loop {
        let next = match inbox.recv_timeout(Duration::from_millis(200)) {
            Ok(Event::Message(m)) if m.topic() == manifest => updater.manifest(m.payload())?,
            Ok(Event::Message(m)) if m.topic() == results => {
                // Results that were measured after the switch and reached the cloud show that the whole site works.
                let new = serde_json::from_slice::<Summary>(m.payload()).is_ok_and(|s| s.t > switched);
                if new { updater.works()? } else { None }
            }
            Ok(Event::Message(m)) => {
                health.messages += 1;
                link.unsubscribe(m.topic());
                updater.part(m.topic(), m.payload(), now())?
            }
            Ok(event) => {
                watch.see(&event);
                None
            }
            Err(RecvTimeoutError::Timeout) => updater.tick(now())?,
            Err(RecvTimeoutError::Disconnected) => return Err("the connection's thread has ended".to_owned()),
        };
        match next {
            Some(Next::Fetch(topic)) => link.subscribe(&topic),
            Some(Next::Say(what, version, why)) => {
                switched = now();
                eprintln!("{NAME}: {what}: version {version} {why}");
                let text = serde_json::json!({"id": now(), "what": what, "version": version, "why": why});
                link.publish(0, &status, text.to_string().into_bytes(), true);
            }
            None => {}
        }
        pulse.beat(watch.up);
        let (version, _) = updater.active()?;
        health.report(&link, &[("version", version)]);
    }
}
