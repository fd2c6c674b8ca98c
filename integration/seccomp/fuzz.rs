//! Any JSON: no panic, and what is compiled passes the kernel's checks.

use embrun::bundle::json::Json;
use embrun::seccomp::arch::Arch;
use embrun::seccomp::compile::compile;
use embrun::seccomp::explain;
use embrun::seccomp::policy::policy;
use embrun::seccomp::sim::check;

use crate::random::{self, Random};

const CORPUS: &[&str] = &[
    include_str!("../../seccomp-profiles/default.json"),
    include_str!("../../seccomp-profiles/uplink.json"),
    r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"architectures":["SCMP_ARCH_X86"],"flags":[],"listenerPath":"/x",
    "listenerMetadata":"y","syscalls":[{"names":["socket","ipc"],"action":"SCMP_ACT_NOTIFY","args":[{"index":0,"value":1,
    "valueTwo":18446744073709551615,"op":"SCMP_CMP_MASKED_EQ"},{"index":5,"value":4294967296,"op":"SCMP_CMP_LE"}]}]}"#,
];

/// What is put in place of something.
const PIECES: &[&str] = &[
    "0",
    "1",
    "-1",
    "5",
    "6",
    "255",
    "256",
    "4095",
    "4096",
    "65536",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "1e3",
    "null",
    "true",
    "[]",
    "{}",
    "\"\"",
    "\"read\"",
    "\"socketcall\"",
    "\"warp\"",
    "\"\\u0000\"",
    "\"SCMP_ACT_ALLOW\"",
    "\"SCMP_ACT_KILL\"",
    "\"SCMP_ACT_TRACE\"",
    "\"SCMP_ACT_NOTIFY\"",
    "\"SCMP_CMP_GE\"",
    "\"SCMP_CMP_NE\"",
    "\"SCMP_ARCH_X32\"",
    "\"SCMP_ARCH_ARM\"",
    "\"SCMP_ARCH_MIPS\"",
    "\"SECCOMP_FILTER_FLAG_TSYNC\"",
    "\"args\"",
    "\"names\"",
    "\"errnoRet\"",
];

#[test]
fn any_json_is_refused_or_compiled() {
    let (mut broken, mut refused, mut compiled) = (0, 0, 0);
    for seed in random::seeds(3000) {
        let mut random = Random::new(seed);
        let text = mutated(&mut random);
        let Ok(json) = Json::parse(&text) else {
            broken += 1;
            continue;
        };
        let Ok(policy) = policy(&json) else {
            refused += 1;
            continue;
        };
        let native = random.pick(&[Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm, Arch::Riscv64]);
        if let Ok(filter) = compile(&policy, native) {
            check(&filter.program).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert!(explain::dump(&policy, native).is_ok());
            let args = [random.next(), random.next()];
            assert!(explain::explain(&policy, native, native, "read", &args).is_ok());
            compiled += 1;
        }
    }
    eprintln!("{broken} broken, {refused} refused, {compiled} compiled");
    assert!(std::env::var_os("SEED").is_some() || (broken > 0 && refused > 0 && compiled > 0));
}

fn mutated(random: &mut Random) -> Vec<u8> {
    let mut text = random.pick(CORPUS).as_bytes().to_vec();
    for _ in 0..1 + random.below(4) {
        let at = random.below(text.len());
        match random.below(4) {
            // A byte.
            0 => text[at] = random.next() as u8,
            // A stretch left out.
            1 => drop(text.drain(at..(at + random.below(40)).min(text.len()))),
            // A value or key for another.
            _ => {
                let word = |b: u8| b.is_ascii_alphanumeric() || b"\"_-".contains(&b);
                let start = text[..at].iter().rposition(|b| !word(*b)).map_or(0, |i| i + 1);
                let end = text[at..].iter().position(|b| !word(*b)).map_or(text.len(), |i| at + i);
                text.splice(start..end.max(start), random.pick(PIECES).bytes());
            }
        }
    }
    text
}
