//! `seccomp`: explains a profile.
//!
//! `explain` names the rule that decides about a call, `dump` prints the filter.

use crate::bundle::load::read_file;
use crate::error::{Context as _, Error, Quoted, Result};
use crate::json::document;
use crate::json::slot::{Each, Value, may};
use crate::seccomp::arch::{ALL, Arch};
use crate::seccomp::explain;
use crate::seccomp::policy::{Policy, ProfileSlot, Section};
use crate::sys::file::is_dir;
use crate::sys::path::join;
use crate::text::Keep;

/// The text for `explain BUNDLE|PROFILE SYSCALL [ARGS…]` or `dump BUNDLE|PROFILE`.
pub fn run(words: &[&str], arch: Option<&str>) -> Result<String> {
    let arch = arch.map_or(Ok(Arch::NATIVE), named)?;
    match words {
        ["dump", file] => explain::dump(&read(file)?, arch),
        ["explain", file, call, args @ ..] => {
            let mut numbers = Vec::new();
            for arg in args {
                numbers.push(number(arg)?);
            }
            // A foreign architecture is requested for another machine.
            let native = if arch.runs_beside(Arch::NATIVE) { Arch::NATIVE } else { arch };
            explain::explain(&read(file)?, native, arch, call, &numbers)
        }
        _ => Err(Error::new(
            "expected explain BUNDLE|PROFILE SYSCALL [ARG...], dump BUNDLE|PROFILE or record BUNDLE",
        )),
    }
}

/// The profile of a bundle or of a config.json, or a profile by itself.
pub fn read(path: &str) -> Result<Policy> {
    let file = if is_dir(path) { join(path, "config.json") } else { path.to_owned() };
    let parse = || {
        let text: &[u8] = read_file(&file)?.keep();
        let (mut is_config, mut policy) = (false, None);
        let mut linux = |v: Value<'_>| {
            is_config = true;
            v.object(&mut [may("seccomp", &mut Section(&mut policy))])
        };
        document::read(text, &mut Each(&mut |v| v.object(&mut [may("linux", &mut Each(&mut linux))])))?;
        if !is_config {
            document::read(text, &mut ProfileSlot(&mut policy))?;
        }
        policy.ok_or_else(|| Error::new("linux.seccomp: is not there"))
    };
    parse().map_err(|e: Error| e.context(&file))
}

/// An architecture by the spec's name or its end, in any case.
fn named(name: &str) -> Result<Arch> {
    let same = |full: &str| full == name || full["SCMP_ARCH_".len()..].eq_ignore_ascii_case(name);
    let found = ALL.pairs().find(|(full, _)| same(full)).map(|(_, arch)| arch);
    found.ok_or_else(|| Error::of(format_args!("--arch: unknown architecture {}", Quoted(name))))
}

fn number(text: &str) -> Result<u64> {
    let parsed = explain::number(text).map_err(|e| Error::new(e.to_string()));
    parsed.about(format_args!("argument {}", Quoted(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(words: &[&str], arch: Option<&str>) -> Result<String> {
        run(words, arch)
    }

    #[test]
    fn profiles_are_explained_and_dumped() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/seccomp-profiles/default.json");
        let text = ask(&["explain", file, "clone", "0x10000000"], None).unwrap();
        assert!(text.starts_with("clone, number"), "{text}");
        assert!(ask(&["dump", file], Some("SCMP_ARCH_ARM")).is_ok() || cfg!(target_arch = "riscv64"));
        for (words, arch, says) in [
            (&["explain", file, "clone", "x"][..], None, "argument \"x\": invalid digit"),
            (&["explain", file, "warp"], None, "unknown system call \"warp\""),
            (&["explain", file], None, "expected explain BUNDLE|PROFILE SYSCALL"),
            (&["dump", file], Some("vax"), "--arch: unknown architecture \"vax\""),
            (&["dump", "/nowhere"], None, "/nowhere: no such file or directory"),
            (
                &["dump", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")],
                None,
                "Cargo.toml: expected value",
            ),
        ] {
            let e = ask(words, arch).unwrap_err().to_string();
            assert!(e.contains(says), "{e:?} does not say {says:?}");
        }
    }
}
