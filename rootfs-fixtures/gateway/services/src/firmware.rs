//! The update of the firmware.
//!
//! It begins with a signed manifest, continues part by part, and ends with a confirmed or rejected image.

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::sign::{open, unhex};
use crate::slots::{Header, Medium, Slots, Standing};

/// The body of a signed manifest.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The version; only a higher one is installed.
    pub version: u64,
    /// The size of the image in bytes.
    pub size: u64,
    /// Its SHA-512.
    pub sha512: String,
    /// The size of a part, which is a message with the topic `firmware/VERSION/PART`.
    pub part: u64,
}

/// The largest part.
const LARGEST: u64 = 512 << 10;

/// An update on its way.
struct Install {
    manifest: Manifest,
    digest: [u8; 64],
    slot: usize,
    at: u64,
}

/// The next action of the caller.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// Fetch the message with this topic.
    Fetch(String),
    /// Report this.
    Say(&'static str, u64, String),
}

/// The update of two slots.
pub struct Updater<M> {
    slots: Slots<M>,
    key: VerifyingKey,
    room: u64,
    install: Option<Install>,
    /// The slot that is tried, and the time of its end.
    trial: Option<(usize, Header, u64)>,
    patience: u64,
}

impl<M: Medium> Updater<M> {
    /// Continues the update that the slots record.
    ///
    /// `room` is the size of a slot's image, and `patience` the time in microseconds in which a new image must show that it works.
    pub fn new(
        slots: Slots<M>,
        key: VerifyingKey,
        room: u64,
        patience: u64,
        now: u64,
    ) -> Result<Self, String> {
        let active = slots.active().map_err(|e| format!("read the slots: {e}"))?;
        let trial =
            active.filter(|(_, h)| h.standing == Standing::Trying).map(|(s, h)| (s, h, now + patience));
        Ok(Updater { slots, key, room, install: None, trial, patience })
    }

    /// The version and standing of the active slot.
    pub fn active(&self) -> Result<(u64, &'static str), String> {
        let active = self.slots.active().map_err(|e| format!("read the slots: {e}"))?;
        Ok(match active {
            None => (0, "empty"),
            Some((_, Header { version, standing: Standing::Confirmed, .. })) => (version, "confirmed"),
            Some((_, Header { version, .. })) => (version, "trying"),
        })
    }

    /// A manifest has arrived.
    pub fn manifest(&mut self, message: &[u8]) -> Result<Option<Next>, String> {
        match self.check(message) {
            Ok(None) => Ok(None),
            Ok(Some((manifest, digest))) => {
                let slot = self.slots.clear().map_err(|e| format!("clear a slot: {e}"))?;
                let install = Install { manifest, digest, slot, at: 0 };
                let topic = install.topic();
                self.install = Some(install);
                Ok(Some(Next::Fetch(topic)))
            }
            Err(why) => Ok(Some(Next::Say("refused", 0, why))),
        }
    }

    fn check(&self, message: &[u8]) -> Result<Option<(Manifest, [u8; 64])>, String> {
        let body = open(&self.key, "firmware", message)?;
        let manifest: Manifest = serde_json::from_str(&body).map_err(|e| format!("no manifest: {e}"))?;
        let read = |e: std::io::Error| format!("read the slots: {e}");
        for slot in 0..2 {
            // Also a rejected version is not installed again.
            let there = self.slots.header(slot).map_err(read)?.map_or(0, |h| h.version);
            if there == manifest.version {
                return Ok(None);
            }
            if there > manifest.version {
                return Err(format!("version {} is older than {there}", manifest.version));
            }
        }
        if let Some((_, header, _)) = &self.trial {
            return Err(format!("version {} is still tried", header.version));
        }
        if self.install.as_ref().is_some_and(|i| i.manifest == manifest) {
            return Ok(None);
        }
        if manifest.size == 0 || manifest.size > self.room || !(1..=LARGEST).contains(&manifest.part) {
            return Err(format!("{} bytes in parts of {} do not fit", manifest.size, manifest.part));
        }
        let digest = unhex(&manifest.sha512).ok_or("the digest is not 64 bytes in hexadecimal digits")?;
        Ok(Some((manifest, digest)))
    }

    /// A part has arrived.
    pub fn part(&mut self, topic: &str, bytes: &[u8], now: u64) -> Result<Option<Next>, String> {
        let Some(install) = self.install.as_mut().filter(|i| i.topic() == topic) else { return Ok(None) };
        let expected = install.manifest.part.min(install.manifest.size - install.at);
        if bytes.len() as u64 != expected {
            let version = install.manifest.version;
            self.install = None;
            return Ok(Some(Next::Say("refused", version, format!("{topic} has {} bytes", bytes.len()))));
        }
        self.slots.fill(install.slot, bytes, install.at).map_err(|e| format!("write the image: {e}"))?;
        install.at += expected;
        if install.at < install.manifest.size {
            return Ok(Some(Next::Fetch(install.topic())));
        }
        let Some(Install { manifest, digest, slot, .. }) = self.install.take() else { return Ok(None) };
        let whole = self.slots.switch(slot, manifest.version, manifest.size, digest);
        if !whole.map_err(|e| format!("switch: {e}"))? {
            return Ok(Some(Next::Say(
                "refused",
                manifest.version,
                "the image has another digest".to_owned(),
            )));
        }
        let header = self.slots.header(slot).map_err(|e| format!("read the slots: {e}"))?;
        self.trial = header.map(|h| (slot, h, now + self.patience));
        Ok(Some(Next::Say("switched", manifest.version, String::new())))
    }

    /// The site has shown that it works.
    pub fn works(&mut self) -> Result<Option<Next>, String> {
        let Some((slot, header, _)) = self.trial.take() else { return Ok(None) };
        self.slots.mark(slot, &header, Standing::Confirmed).map_err(|e| format!("confirm: {e}"))?;
        Ok(Some(Next::Say("confirmed", header.version, String::new())))
    }

    /// Time passes: an image that is not confirmed in time is given up.
    pub fn tick(&mut self, now: u64) -> Result<Option<Next>, String> {
        let Some((slot, header, _)) = self.trial.take_if(|(_, _, end)| now >= *end) else { return Ok(None) };
        self.slots.mark(slot, &header, Standing::Bad).map_err(|e| format!("roll back: {e}"))?;
        Ok(Some(Next::Say("rolled back", header.version, "the site showed no results".to_owned())))
    }
}

impl Install {
    fn topic(&self) -> String {
        format!("firmware/{}/{}", self.manifest.version, self.at / self.manifest.part)
    }
}
