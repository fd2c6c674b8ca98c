//! The cloud's side, for tests and as an example: makes keys, signs, and measures.

use std::collections::HashMap;
use std::io::Read as _;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use gateway_services::command::Command;
use gateway_services::config;
use gateway_services::firmware::Manifest;
use gateway_services::life::now;
use gateway_services::link::{Acks, Address, Event, Link};
use gateway_services::message::{Done, topic};
use gateway_services::sign::{hex, secret_key, sign};
use gateway_services::slots::{Slots, device};
use sha2::{Digest as _, Sha512};

const USAGE: &str = "usage: gateway-tool keys FILE             makes FILE.key and FILE.pub
       gateway-tool command KEY SITE VALUE  prints a signed command
       gateway-tool control KEY SITE COUNT  sends commands by BROKER, and prints how long each took, as JSON
       gateway-tool firmware KEY VERSION IMAGE  publishes an image by BROKER for the SITEs in the environment
       gateway-tool slots A B               prints what is in two slots, as JSON";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["keys", file] => keys(file),
        ["command", key, site, value] => {
            secret_key(key).and_then(|key| command(&key, site, value, now())).map(|c| println!("{c}"))
        }
        ["control", key, site, count] => control(key, site, count),
        ["firmware", key, version, image] => firmware(key, version, image),
        ["slots", a, b] => slots(a, b),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn keys(file: &str) -> Result<(), String> {
    let mut secret = [0; 32];
    let random = std::fs::File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut secret));
    random.map_err(|e| format!("/dev/urandom: {e}"))?;
    let public = ed25519_dalek::SigningKey::from_bytes(&secret).verifying_key();
    for (name, bytes) in [("key", &secret), ("pub", public.as_bytes())] {
        let path = format!("{file}.{name}");
        std::fs::write(&path, hex(bytes) + "\n").map_err(|e| format!("{path}: {e}"))?;
    }
    Ok(())
}

fn command(key: &ed25519_dalek::SigningKey, site: &str, value: &str, n: u64) -> Result<String, String> {
    let value = value.parse().map_err(|e| format!("{value}: {e}"))?;
    let body =
        serde_json::to_string(&Command { site: site.to_owned(), n, value }).map_err(|e| e.to_string())?;
    serde_json::to_string(&sign(key, "command", body)).map_err(|e| e.to_string())
}

/// Sends a command every 20 ms, and waits for all answers.
fn control(key: &str, site: &str, count: &str) -> Result<(), String> {
    let (key, count) = (secret_key(key)?, count.parse::<usize>().map_err(|e| format!("{count}: {e}"))?);
    let (events, inbox) = channel();
    let id = format!("control-{}", std::process::id());
    let link =
        Link::open(&Address::from_env("BROKER")?, &id, &[topic(site, "done")], Acks::AtOnce, move |e| {
            let _ = events.send(e);
        })?;
    let (mut sent, mut took, mut refused) = (HashMap::new(), Vec::new(), 0);
    let mut ready = false;
    let end = Instant::now() + Duration::from_secs(30) + Duration::from_millis(20) * count as u32;
    let mut next = Instant::now();
    while took.len() + refused < count {
        if Instant::now() > end {
            return Err(format!("{} of {} commands were answered", took.len() + refused, sent.len()));
        }
        if ready && sent.len() < count && Instant::now() >= next {
            next = Instant::now() + Duration::from_millis(20);
            let n = now();
            let text = command(&key, site, if sent.len() % 2 == 0 { "1" } else { "0" }, n)?;
            if link.publish(n, &topic(site, "commands"), text.into_bytes(), false) {
                sent.insert(n, Instant::now());
            }
        }
        match inbox.recv_timeout(Duration::from_millis(2)) {
            Ok(Event::Up) => {
                ready = true;
                next = Instant::now() + Duration::from_millis(300);
            }
            Ok(Event::Message(m)) => {
                let Ok(done) = serde_json::from_slice::<Done>(m.payload()) else { continue };
                let Some(began) = sent.get(&done.n) else { continue };
                match done.cause.as_str() {
                    "command" => took.push(began.elapsed().as_micros()),
                    _ => refused += 1,
                }
            }
            _ => {}
        }
    }
    took.sort_unstable();
    let at = |share: usize| {
        took.get((took.len() * share / 100).min(took.len().max(1) - 1)).copied().unwrap_or(0) as f64 / 1e3
    };
    println!(
        r#"{{"commands":{count},"refused":{refused},"p50_ms":{},"p99_ms":{},"max_ms":{}}}"#,
        at(50),
        at(99),
        at(100)
    );
    Ok(())
}

fn firmware(key: &str, version: &str, image: &str) -> Result<(), String> {
    let key = secret_key(key)?;
    let version: u64 = version.parse().map_err(|e| format!("{version}: {e}"))?;
    let bytes = std::fs::read(image).map_err(|e| format!("{image}: {e}"))?;
    let part = 64 << 10;
    let sha512 = hex(&Sha512::digest(&bytes));
    let manifest = Manifest { version, size: bytes.len() as u64, sha512, part: part as u64 };
    let body = serde_json::to_string(&manifest).map_err(|e| e.to_string())?;
    let text = serde_json::to_vec(&sign(&key, "firmware", body)).map_err(|e| e.to_string())?;
    // The manifest comes last, when all parts are there.
    let mut messages: Vec<(String, Vec<u8>)> = bytes
        .chunks(part)
        .enumerate()
        .map(|(i, p)| (format!("firmware/{version}/{i}"), p.to_vec()))
        .collect();
    let sites = config::required("SITES")?;
    messages.extend(sites.split_whitespace().map(|site| (topic(site, "firmware"), text.clone())));
    let (events, inbox) = channel();
    let id = format!("firmware-{}", std::process::id());
    let link = Link::open(&Address::from_env("BROKER")?, &id, &[], Acks::AtOnce, move |e| {
        let _ = events.send(e);
    })?;
    let (mut next, mut acked) = (0, 0);
    while acked < messages.len() {
        while next < messages.len()
            && link.publish(next as u64, &messages[next].0, messages[next].1.clone(), true)
        {
            next += 1;
        }
        match inbox.recv_timeout(Duration::from_secs(30)) {
            Ok(Event::Acked(_)) => acked += 1,
            Ok(Event::Down(why)) => eprintln!("gateway-tool: not connected: {why}"),
            Ok(_) => {}
            Err(_) => return Err("the broker acknowledged nothing for 30 s".to_owned()),
        }
    }
    Ok(())
}

fn slots(a: &str, b: &str) -> Result<(), String> {
    let slots = Slots([device(a)?, device(b)?]);
    let read = |e: std::io::Error| format!("read the slots: {e}");
    let active = slots.active().map_err(read)?.map(|(slot, _)| slot);
    for slot in 0..2 {
        let Some(header) = slots.header(slot).map_err(read)? else {
            println!(r#"{{"slot":{slot},"version":0,"active":false}}"#);
            continue;
        };
        let whole = slots.digest(slot, header.size).map_err(read)? == header.digest;
        println!(
            r#"{{"slot":{slot},"version":{},"standing":"{:?}","whole":{whole},"active":{}}}"#,
            header.version,
            header.standing,
            active == Some(slot)
        );
    }
    Ok(())
}
