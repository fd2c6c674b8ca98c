//! Recording: a policy that reports every call, and the resulting profile.

use super::arch::{ALL, Arch, X32_BIT};
use super::policy::{Action, Policy, WAIT_KILLABLE_RECV};
use super::support::Support;
use super::syscalls::Call;
use crate::error::Result;
use crate::json::read::{Fault, Read};
use crate::json::value::{Json, add_name};

/// Returns a policy that reports every call of every supported architecture.
pub fn policy(kernel: Support) -> Policy {
    Policy {
        default_action: Action::Notify,
        architectures: ALL.values.iter().copied().filter(|arch| arch.runs_beside(Arch::NATIVE)).collect(),
        // Without this flag, a signal could interrupt calls that are otherwise uninterruptible.
        flags: Some(kernel.flags & WAIT_KILLABLE_RECV),
        listener_path: None,
        listener_metadata: None,
        syscalls: Vec::new(),
    }
}

/// A profile that allows recorded calls and answers EPERM to all others.
///
/// It does not look at the arguments of the calls.
#[derive(Debug)]
pub struct RecordedProfile {
    /// One bit for each item of [`ALL`].
    architectures: u32,
    /// For each call, 1 if it is allowed.
    calls: Vec<u8>,
}

impl Default for RecordedProfile {
    fn default() -> RecordedProfile {
        RecordedProfile { architectures: 0, calls: vec![0; Call::all().count()] }
    }
}

impl RecordedProfile {
    /// Allows a call that was seen (`AUDIT_ARCH_*` and number).
    /// Returns false if this build has no name for it.
    pub fn add(&mut self, audit: u32, number: u32) -> bool {
        let x32 = number & X32_BIT != 0 && Arch::X32.audit() == Some(audit);
        let same = |arch: &Arch| arch.audit() == Some(audit) && x32 == (*arch == Arch::X32);
        let arch = ALL.values.iter().copied().find(same);
        let Some((arch, call)) = arch.and_then(|arch| Some((arch, Call::of(arch, number)?))) else {
            return false;
        };
        self.architectures |= 1 << arch as u32;
        self.calls[call.index()] = 1;
        true
    }

    /// Allows the runtime's own calls when an exec enters the pid namespace.
    /// Without no_new_privs the runtime makes them under the filter.
    pub fn allow_to_enter(&mut self) {
        ["clone", "setsid"]
            .iter()
            .filter_map(|name| Call::find(name))
            .for_each(|call| self.calls[call.index()] = 1);
    }

    /// Adds the calls of another profile of this kind.
    pub fn merge(&mut self, other: &Policy) -> Read<()> {
        if other.default_action != Action::Errno(1) {
            return Err(Fault::new("must be SCMP_ACT_ERRNO with EPERM to be merged").at("defaultAction"));
        }
        for (i, rule) in other.syscalls.iter().enumerate() {
            let at = |why: &str| Err(Fault::new(why).at_index(i).at("syscalls"));
            if rule.action != Action::Allow || !rule.args.is_empty() {
                return at("must allow its calls whatever their arguments are to be merged");
            }
            for name in &rule.names {
                let Some(call) = Call::find(name) else {
                    return at("names a system call that is unknown here");
                };
                self.calls[call.index()] = 1;
            }
        }
        other.architectures.iter().for_each(|arch| self.architectures |= 1 << *arch as u32);
        Ok(())
    }

    /// Encodes the profile for [`RecordedProfile::absorb`] in another embrun process.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.architectures.to_le_bytes()[..], &self.calls].concat()
    }

    /// Adds the calls of an encoded profile; false if the bytes are not one.
    pub fn absorb(&mut self, bytes: &[u8]) -> bool {
        let parts = bytes.split_first_chunk().filter(|(_, calls)| calls.len() == self.calls.len());
        let Some((architectures, calls)) = parts else { return false };
        self.architectures |= u32::from_le_bytes(*architectures);
        self.calls.iter_mut().zip(calls).for_each(|(ours, theirs)| *ours |= theirs);
        true
    }

    fn allows(&self, name: &str) -> bool {
        Call::find(name).is_some_and(|call| self.calls[call.index()] != 0)
    }

    /// Converts the profile to `linux.seccomp`.
    /// Adds calls that a program needs even if it was not seen to make them.
    pub fn json(mut self) -> Result<Json> {
        let has = |arch| self.architectures & 1 << arch as u32 != 0;
        let handlers = self.allows("rt_sigaction") || self.allows("sigaction");
        let old = has(Arch::X86) || has(Arch::Arm);
        for (name, needed) in [
            // A program that was killed by a signal may exit by itself next time.
            ("exit", true),
            ("exit_group", true),
            // The kernel inserts this call when a stopped process continues.
            ("restart_syscall", true),
            // A signal handler returns through it, but no signal may have arrived during the recording.
            ("rt_sigreturn", handlers),
            ("sigreturn", handlers && old),
        ] {
            if let Some(call) = Call::find(name).filter(|_| needed) {
                self.calls[call.index()] = 1;
            }
        }
        let mut names = String::new();
        for call in Call::all().filter(|call| self.calls[call.index()] != 0) {
            add_name(&mut names, call.name());
        }
        let mut architectures = String::new();
        for (name, _) in ALL.pairs().filter(|(_, arch)| has(*arch)) {
            add_name(&mut architectures, name);
        }
        let text = format!(
            r#"{{
                "defaultAction": "SCMP_ACT_ERRNO",
                "defaultErrnoRet": 1,
                "architectures": [{architectures}],
                "syscalls": [{{"names": [{names}], "action": "SCMP_ACT_ALLOW"}}]
            }}"#
        );
        Json::parse(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy;
    use super::*;
    use crate::error::Error;
    use crate::seccomp::compile::compile;
    use crate::seccomp::sim::{Data, check, run};

    fn verdict(program: &[crate::sys::seccomp::SockFilter], arch: Arch, name: &str, args: [u64; 6]) -> u32 {
        let number = Call::find(name).unwrap().number(arch).unwrap();
        run(program, &Data { number, audit: arch.audit().unwrap(), args }).0
    }

    #[test]
    fn recording_policy_reports_every_call() {
        let filter = compile(&policy(Support::default()), Arch::NATIVE).unwrap();
        check(&filter.program).unwrap();
        assert!(filter.notify && filter.optional == 0);
        let notify = Action::Notify.code();
        for call in Call::all() {
            for arch in ALL.values.iter().copied().filter(|a| a.runs_beside(Arch::NATIVE)) {
                if call.number(arch).is_some() {
                    assert_eq!(
                        verdict(&filter.program, arch, call.name(), [0; 6]),
                        notify,
                        "{}",
                        call.name()
                    );
                }
            }
        }
        // A number newer than all known calls.
        let data = Data { number: 2000, audit: Arch::NATIVE.audit().unwrap(), args: [0; 6] };
        assert_eq!(run(&filter.program, &data).0, notify);
    }

    #[test]
    fn profile_allows_seen_calls_and_those_needed_to_exit() {
        let number = |name| Call::find(name).and_then(|c| c.number(Arch::NATIVE)).unwrap();
        let audit = Arch::NATIVE.audit().unwrap();
        let mut profile = RecordedProfile::default();
        for name in ["write", "execve", "write"] {
            assert!(profile.add(audit, number(name)));
        }
        assert!(!profile.add(audit, 0x0fff_ffff));
        assert!(!profile.add(1, 1));
        let native = Arch::NATIVE.name();
        assert_eq!(
            profile.json().unwrap().compact(),
            format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"architectures":["{native}"],"syscalls":[{{"#
            ) + r#""names":["execve","exit","exit_group","restart_syscall","write"],"action":"SCMP_ACT_ALLOW"}]}"#
        );
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn foreign_calls_add_their_architecture_to_the_profile() {
        let mut profile = RecordedProfile::default();
        let number = |name, arch| Call::find(name).and_then(|c| c.number(arch)).unwrap();
        for (name, arch) in [
            ("execve", Arch::X86_64),
            ("socketcall", Arch::X86),
            ("rt_sigaction", Arch::X86),
            ("readv", Arch::X32),
        ] {
            assert!(profile.add(arch.audit().unwrap(), number(name, arch)), "{name}");
        }
        let json = profile.json().unwrap().compact();
        for part in
            [r#"["SCMP_ARCH_X86","SCMP_ARCH_X86_64","SCMP_ARCH_X32"]"#, r#""readv""#, r#""sigreturn""#]
        {
            assert!(json.contains(part), "{json}");
        }
    }

    #[test]
    fn profiles_of_two_machines_merge_and_other_policies_are_refused() {
        let read = |text: &str| policy::policy(&Json::parse(text.as_bytes()).unwrap()).unwrap();
        let of = |arch: &str, name: &str| {
            read(&format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO","architectures":["{arch}"],
                "syscalls":[{{"names":["{name}","write"],"action":"SCMP_ACT_ALLOW"}}]}}"#
            ))
        };
        let mut profile = RecordedProfile::default();
        profile.merge(&of("SCMP_ARCH_ARM", "cacheflush")).unwrap();
        profile.merge(&of("SCMP_ARCH_X86_64", "arch_prctl")).unwrap();
        let merged = profile.json().unwrap();
        let again = policy::policy(&merged).unwrap();
        assert_eq!(again.architectures, [Arch::X86_64, Arch::Arm]);
        let names = ["arch_prctl", "cacheflush", "exit", "exit_group", "restart_syscall", "write"];
        assert_eq!(again.syscalls[0].names, names);
        // Between processes a profile travels as bytes.
        let mut other = RecordedProfile::default();
        other.merge(&again).unwrap();
        let mut profile = RecordedProfile::default();
        assert!(profile.absorb(&other.bytes()) && !profile.absorb(b"") && !profile.absorb(b"12345"));
        assert_eq!(profile.json().unwrap(), merged);
        // Merging a profile with itself changes nothing.
        let mut profile = RecordedProfile::default();
        profile.merge(&again).unwrap();
        assert_eq!(profile.json().unwrap(), merged);
        for (text, says) in [
            (r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, "defaultAction: must be SCMP_ACT_ERRNO"),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG"}]}"#,
                "syscalls[0]: must allow",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["warp"],"action":"SCMP_ACT_ALLOW"}]}"#,
                "syscalls[0]: names a system call that is unknown",
            ),
        ] {
            let e = Error::from(RecordedProfile::default().merge(&read(text)).unwrap_err()).to_string();
            assert!(e.contains(says), "{e}");
        }
    }
}
