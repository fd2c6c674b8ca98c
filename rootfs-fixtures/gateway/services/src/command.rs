//! Commands to the actuator, and the protection against repeated ones.

use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use crate::sign::open;

/// The body of a signed command.
#[derive(Serialize, Deserialize, Debug, Clone, PartialEq)]
pub struct Command {
    /// The site that it is for.
    pub site: String,
    /// The time of signing in microseconds, higher than in all earlier commands.
    pub n: u64,
    /// The value for the actuator.
    pub value: u8,
}

/// Accepts each command once.
///
/// The highest accepted number is not stored, because the role stores nothing. A command signed before the start is refused, so
/// that none can be repeated after a restart.
pub struct Gate {
    site: String,
    key: VerifyingKey,
    last: u64,
    fresh: u64,
}

impl Gate {
    /// `fresh` is the time in microseconds that a command may be on its way.
    pub fn new(site: &str, key: VerifyingKey, now: u64, fresh: u64) -> Gate {
        Gate { site: site.to_owned(), key, last: now, fresh }
    }

    /// The command, if it is signed, for this site, new, and not too old.
    pub fn accept(&mut self, message: &[u8], now: u64) -> Result<Command, String> {
        let body = open(&self.key, "command", message)?;
        let command: Command = serde_json::from_str(&body).map_err(|e| format!("no command: {e}"))?;
        if command.site != self.site {
            return Err(format!("for site {}", command.site));
        }
        if command.n <= self.last {
            return Err(format!("number {} is not higher than {}", command.n, self.last));
        }
        if now > command.n.saturating_add(self.fresh) {
            return Err(format!("signed {} ms ago", (now - command.n) / 1000));
        }
        // A number far in the future would make all later commands look old.
        if command.n > now.saturating_add(self.fresh) {
            return Err(format!("signed {} ms in the future", (command.n - now) / 1000));
        }
        self.last = command.n;
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::sign;
    use ed25519_dalek::SigningKey;

    const START: u64 = 1_000_000_000;
    const FRESH: u64 = 10_000_000;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn gate() -> Gate {
        Gate::new("a", key().verifying_key(), START, FRESH)
    }

    fn command(site: &str, n: u64) -> Vec<u8> {
        let body = serde_json::to_string(&Command { site: site.to_owned(), n, value: 1 }).unwrap();
        serde_json::to_vec(&sign(&key(), "command", body)).unwrap()
    }

    #[test]
    fn a_command_is_accepted_once() {
        let (mut gate, message) = (gate(), command("a", START + 1));
        assert_eq!(gate.accept(&message, START + 2).unwrap().n, START + 1);
        assert!(gate.accept(&message, START + 3).unwrap_err().contains("not higher"));
    }

    #[test]
    fn an_earlier_command_is_refused_after_a_later_one() {
        let mut gate = gate();
        gate.accept(&command("a", START + 5), START + 5).unwrap();
        assert!(gate.accept(&command("a", START + 4), START + 5).is_err());
        gate.accept(&command("a", START + 6), START + 6).unwrap();
    }

    #[test]
    fn a_command_from_before_a_restart_is_refused() {
        let message = command("a", START + 1);
        gate().accept(&message, START + 1).unwrap();
        let mut restarted = Gate::new("a", key().verifying_key(), START + 2, FRESH);
        assert!(restarted.accept(&message, START + 3).unwrap_err().contains("not higher"));
    }

    #[test]
    fn a_command_for_another_site_or_of_another_time_is_refused() {
        assert!(gate().accept(&command("b", START + 1), START + 1).unwrap_err().contains("site b"));
        assert!(gate().accept(&command("a", START + 1), START + 2 + FRESH).unwrap_err().contains("ago"));
        assert!(gate().accept(&command("a", START + 2 + FRESH), START + 1).unwrap_err().contains("future"));
    }

    #[test]
    fn a_refused_command_changes_nothing() {
        let mut gate = gate();
        let _ = gate.accept(&command("b", START + 9), START + 9);
        let _ = gate.accept(&command("a", START + 5 + FRESH), START + 1);
        gate.accept(&command("a", START + 1), START + 1).unwrap();
    }
}
