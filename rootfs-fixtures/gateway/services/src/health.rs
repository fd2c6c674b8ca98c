//! The state of a service, published once a second.
//!
//! It also has the reports of a program about its connections.

use std::time::{Duration, Instant};

use crate::life::now;
use crate::link::{Event, Link};
use crate::message::topic;

/// The state of a service, as it knows it.
pub struct Health {
    topic: String,
    service: &'static str,
    began: u64,
    last: Option<Instant>,
    /// Messages that it has handled.
    pub messages: u64,
}

impl Health {
    /// For the topic `sites/SITE/health/SERVICE`.
    pub fn new(site: &str, service: &'static str) -> Health {
        let topic = topic(site, &format!("health/{service}"));
        Health { topic, service, began: now(), last: None, messages: 0 }
    }

    /// Publishes it, at most once a second, with further members.
    pub fn report(&mut self, link: &Link, more: &[(&str, u64)]) {
        if self.last.is_some_and(|t| t.elapsed() < Duration::from_secs(1)) {
            return;
        }
        self.last = Some(Instant::now());
        let mut text = format!(
            r#"{{"service":"{}","started":{},"t":{},"messages":{},"rss_kb":{}"#,
            self.service,
            self.began,
            now(),
            self.messages,
            resident()
        );
        for (name, value) in more {
            text += &format!(r#","{name}":{value}"#);
        }
        link.mention(&self.topic, (text + "}").into_bytes());
    }
}

/// The resident memory in KB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Prints changes of a connection, each reason once.
pub struct Watch {
    service: &'static str,
    peer: &'static str,
    said: String,
    /// Whether there is a connection.
    pub up: bool,
}

impl Watch {
    /// Watches the connection from a service to `peer`.
    pub fn new(service: &'static str, peer: &'static str) -> Watch {
        Watch { service, peer, said: String::new(), up: false }
    }

    /// Takes note of an event.
    pub fn see(&mut self, event: &Event) {
        let text = match event {
            Event::Up => "connected".to_owned(),
            Event::Down(why) => format!("not connected: {why}"),
            _ => return,
        };
        self.up = matches!(event, Event::Up);
        if text != self.said {
            eprintln!("{}: {}: {text}", self.service, self.peer);
            self.said = text;
        }
    }
}
