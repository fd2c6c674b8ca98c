//! The messages of a site, as JSON, and their topics.

use serde::{Deserialize, Serialize};

/// `sites/SITE/KIND`.
pub fn topic(site: &str, kind: &str) -> String {
    format!("sites/{site}/{kind}")
}

/// A measured value; `id` grows by one, and after a restart by more.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Reading {
    /// The number of the reading, unique at its site.
    pub id: u64,
    /// The time in microseconds.
    pub t: u64,
    /// Its source: `serial`, `i2c`, `gpio` or `raw`.
    pub sensor: String,
    /// The value in the sensor's unit.
    pub value: f64,
}

/// The aggregate of a window.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Summary {
    /// The id of the window's last reading.
    pub id: u64,
    /// The time in microseconds.
    pub t: u64,
    /// The number of readings.
    pub count: u64,
    /// The lowest value.
    pub min: f64,
    /// The highest value.
    pub max: f64,
    /// The average value.
    pub mean: f64,
}

/// A reading outside the limits.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Alarm {
    /// The id of the reading.
    pub id: u64,
    /// The time of the alarm in microseconds.
    pub t: u64,
    /// The time of the reading.
    pub read: u64,
    /// The value.
    pub value: f64,
}

/// An action of the device-controller.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Done {
    /// The number of the action, unique at its site.
    pub id: u64,
    /// The time in microseconds.
    pub t: u64,
    /// Its reason: `command`, `alarm`, `silence`, `start` or `refused`.
    pub cause: String,
    /// The number of the command, or 0.
    pub n: u64,
    /// The value of the actuator afterwards.
    pub value: u8,
    /// The reason of a refusal.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// Ids for the messages of one run of a program.
///
/// They begin with the time in seconds, so that ids of a later run are higher although nothing is stored.
pub struct Ids(u64);

/// The number of ids in one second.
const RANGE: u64 = 1_000_000;

impl Ids {
    /// Ids that are higher than `last`, the highest known id of an earlier run.
    ///
    /// The time alone is not enough, because the clock may have gone back since.
    pub fn after(last: Option<u64>, now: u64) -> Ids {
        let floor = last.map_or(0, |id| id / RANGE + 1);
        Ids((now / 1_000_000).max(floor) * RANGE)
    }

    /// The id of the next message.
    pub fn next(&self) -> u64 {
        self.0
    }

    /// The next id is used.
    pub fn taken(&mut self) {
        self.0 += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_later_run_are_higher() {
        let mut ids = Ids::after(None, 1_700_000_000_000_000);
        assert_eq!(ids.next(), 1_700_000_000_000_000);
        ids.taken();
        assert_eq!(ids.next(), 1_700_000_000_000_001);
        // The clock has gone back.
        assert_eq!(Ids::after(Some(ids.next()), 5).next(), 1_700_000_001_000_000);
    }
}
