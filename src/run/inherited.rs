//! Descriptors that the caller passes on to the program: `LISTEN_FDS` (sd_listen_fds(3)) and `--preserve-fds`.

use crate::error::{Error, Result};
use crate::sys::process;
use crate::text::{List, Text, joined};

/// The descriptors after the standard streams that the program inherits.
pub struct Inherited {
    listen: u32,
    names: Option<&'static str>,
    preserved: u32,
}

impl Inherited {
    /// Counts them, and checks that they are open, and the caller's: our own lead out of the container.
    pub fn check(preserved: u32) -> Result<Inherited> {
        let var = crate::sys::start::variable;
        let for_us = var("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
        let listen = var("LISTEN_FDS").filter(|_| for_us).and_then(|n| n.parse().ok()).unwrap_or(0);
        let inherited = Inherited { listen, names: var("LISTEN_FDNAMES").filter(|_| listen > 0), preserved };
        for i in 0..inherited.count() {
            if !process::came_by_exec(3 + i as i32) {
                let (what, fd) = (if i < listen { "LISTEN_FDS" } else { "--preserve-fds" }, 3 + i);
                return Err(Error::of(format_args!(
                    "{what}: descriptor {fd} is not open (unable to stat preserved-fd)"
                )));
            }
        }
        Ok(inherited)
    }

    /// How many there are; they are numbered from 3.
    pub fn count(&self) -> u32 {
        self.listen.saturating_add(self.preserved)
    }

    /// The program's environment with what tells it of the listening ones: it is process 1 of its container.
    pub fn announced(&self, env: List<Text>) -> List<Text> {
        if self.listen == 0 {
            return env;
        }
        let mut more: Vec<Text> = vec![format!("LISTEN_FDS={}", self.listen).leak(), "LISTEN_PID=1"];
        if let Some(names) = &self.names {
            more.push(format!("LISTEN_FDNAMES={names}").leak());
        }
        joined(env, &more)
    }
}
