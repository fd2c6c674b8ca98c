//! The sensors of the data-collector, each read by a thread of its own.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use crate::bus::{self, Line};
use crate::config;
use crate::life::now;

/// A value as a sensor gave it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its source.
    pub sensor: &'static str,
    /// The time in microseconds.
    pub t: u64,
    /// The value.
    pub value: f64,
}

/// A sensor and how to read it.
#[derive(Debug, Clone)]
enum Source {
    Serial(String),
    I2c(String, u16, u8),
    Gpio(String, u32),
    Raw(String),
}

/// Starts a thread for each sensor of the environment; returns their number.
pub fn start(out: &SyncSender<Sample>) -> Result<usize, String> {
    let mut sources = Vec::new();
    sources.extend(config::optional("SERIAL").map(Source::Serial));
    if let Some(bus) = config::optional("I2C") {
        sources.push(Source::I2c(
            bus,
            config::parsed("I2C_ADDRESS", 72)?,
            config::parsed("I2C_REGISTER", 0)?,
        ));
    }
    if let Some(chip) = config::optional("GPIO") {
        sources.push(Source::Gpio(chip, config::parsed("GPIO_LINE", 0)?));
    }
    sources.extend(config::optional("RAW").map(Source::Raw));
    let period = Duration::from_millis(config::parsed("PERIOD_MS", 100)?);
    for source in &sources {
        let (source, out) = (source.clone(), out.clone());
        std::thread::spawn(move || source.work(period, &out));
    }
    match sources.len() {
        0 => Err("no sensor: set SERIAL, I2C, GPIO or RAW".to_owned()),
        n => Ok(n),
    }
}

impl Source {
    /// Reads until the receiver is gone. An unplugged sensor is opened again and again.
    fn work(&self, period: Duration, out: &SyncSender<Sample>) {
        let mut said = String::new();
        loop {
            let began = Instant::now();
            let ended = match self {
                Source::Serial(path) => read_lines(path, out),
                Source::I2c(path, address, register) => {
                    let read = |bus: &mut File| bus::i2c_word(bus, *address, *register).map(f64::from);
                    File::open(path).and_then(|bus| repeat("i2c", bus, read, period, out))
                }
                Source::Gpio(path, line) => {
                    let read = |line: &mut Line| line.get().map(f64::from);
                    Line::open(path, *line, None).and_then(|line| repeat("gpio", line, read, period, out))
                }
                Source::Raw(path) => {
                    let read = |file: &mut File| {
                        let mut bytes = [0; 2];
                        file.read_exact(&mut bytes).map(|()| f64::from(u16::from_le_bytes(bytes)))
                    };
                    // A cgroup only checks when a device is opened, so that a removed one must be opened to notice.
                    let file = || File::open(path);
                    file().and_then(|_| repeat("raw", (), |()| read(&mut file()?), period, out))
                }
            };
            let text = match ended {
                Ok(()) => return,
                Err(e) => format!("{self:?}: {e}"),
            };
            // It is printed again if the sensor worked in between.
            if text != said || began.elapsed() > Duration::from_secs(1) {
                eprintln!("data-collector: {text}");
                said = text;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Each line is a number; others are ignored, since the first may be cut off.
fn read_lines(path: &str, out: &SyncSender<Sample>) -> io::Result<()> {
    let mut lines = BufReader::new(bus::serial(path, false)?);
    loop {
        let mut line = Vec::new();
        if lines.by_ref().take(256).read_until(b'\n', &mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the line is gone"));
        }
        let Some(value) = std::str::from_utf8(&line).ok().and_then(|l| l.trim().parse().ok()) else {
            continue;
        };
        if out.send(Sample { sensor: "serial", t: now(), value }).is_err() {
            return Ok(());
        }
    }
}

fn repeat<T>(
    sensor: &'static str,
    mut device: T,
    read: impl Fn(&mut T) -> io::Result<f64>,
    period: Duration,
    out: &SyncSender<Sample>,
) -> io::Result<()> {
    loop {
        let sample = Sample { sensor, value: read(&mut device)?, t: now() };
        if out.send(sample).is_err() {
            return Ok(());
        }
        std::thread::sleep(period);
    }
}
