//! Mutated profiles: no panic, and the kernel accepts every resulting filter.
//!
//! Most mutations keep the form of a profile and change its content, so that most mutants compile. Some
//! break the form, and a few the JSON text.

use embrun::json::value::Json;
use embrun::seccomp::arch::ALL;
use embrun::seccomp::compile::compile;
use embrun::seccomp::explain;
use embrun::seccomp::policy::{ACTIONS, FLAGS, OPERATORS, policy};
use embrun::seccomp::recording::RecordedProfile;
use embrun::seccomp::sim::check;
use embrun::seccomp::syscalls::Call;
use embrun::text::names::{NameTable, word};

use crate::catalogue::{self, SHIPPED};
use crate::kernel::accepts;
use crate::random::{self, FAMILIES, Random};

const ODD: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"architectures":["SCMP_ARCH_X86"],"flags":[],
    "listenerPath":"/x","listenerMetadata":"y","syscalls":[{"names":["socket","ipc"],"action":"SCMP_ACT_NOTIFY","args":[
    {"index":0,"value":1,"valueTwo":18446744073709551615,"op":"SCMP_CMP_MASKED_EQ"},
    {"index":5,"value":4294967296,"op":"SCMP_CMP_LE"}]}]}"#;

/// Boundary values.
const EDGES: &[i128] = &[
    0,
    1,
    2,
    5,
    0x40,
    0xff,
    0x0fff,
    0x1000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 63,
    (1 << 64) - 1,
];
const BROKEN: &[&str] = &[
    "null",
    "true",
    "-1",
    "6",
    "65536",
    "18446744073709551616",
    "1e3",
    "[]",
    "{}",
    "\"\"",
    "\"warp\"",
    "\"\\u0000\"",
    "\"SCMP_ACT_ALLOW\"",
    "[\"read\"]",
];

#[test]
fn mutants_are_refused_or_compiled() {
    let corpus: Vec<Json> = SHIPPED
        .iter()
        .map(|(_, text)| *text)
        .chain([ODD])
        .map(|text| Json::parse(text.as_bytes()).unwrap())
        .chain(catalogue::profiles().iter().map(|(_, p)| catalogue::json(p)))
        .collect();
    let (mut mutants, mut policies, mut compiled, mut loaded) = (0, 0, 0, 0);
    for seed in random::seeds(1500) {
        let mut random = Random::new(seed);
        mutants += 1;
        let Some(policy) = Json::parse(&mutant(&corpus, &mut random)).ok().and_then(|j| policy(&j).ok())
        else {
            continue;
        };
        policies += 1;
        let _ = RecordedProfile::default().merge(&policy);
        let native = random.pick(FAMILIES)[0];
        let Ok(filter) = compile(&policy, native) else { continue };
        compiled += 1;
        check(&filter.program).unwrap();
        let call = random.next().to_string();
        let call = if random.one_in(2) { "read" } else { &call };
        let _ = explain::explain(&policy, native, native, call, &[random.next(), random.next()]);
        if seed % 8 == 0 {
            // A build for ARM knows only the calls of ARM.
            assert_eq!(explain::dump(&policy, native).is_ok(), native.audit().is_some());
            // A kernel checks the form of a filter for any architecture.
            assert!(accepts(&filter.program), "the kernel refuses the filter");
            loaded += 1;
        }
    }
    eprintln!("{mutants} mutants, {policies} policies, {compiled} compiled, {loaded} of them loaded");
    if mutants >= 1000 {
        assert!(policies * 10 >= mutants * 8, "too few mutants reach the compiler");
        assert!(policies < mutants, "no mutant is broken");
        assert!(compiled * 10 >= mutants * 6, "too few mutants compile");
    }
}

/// A profile with a few changes, as text.
fn mutant(corpus: &[Json], random: &mut Random) -> Vec<u8> {
    let mut profile = corpus[random.below(corpus.len())].clone();
    for _ in 0..1 + random.below(8) {
        change(&mut profile, corpus, random);
    }
    if random.one_in(12) {
        let count = nodes(&mut profile, &mut usize::MAX.clone()).1;
        let at = nodes(&mut profile, &mut random.below(count)).0;
        *at.unwrap() = Json::parse(random.pick(BROKEN).as_bytes()).unwrap();
    }
    let mut text = profile.compact().into_bytes();
    if random.one_in(32) {
        let at = random.below(text.len());
        match random.below(2) {
            0 => text[at] = random.next() as u8,
            _ => drop(text.drain(at..(at + random.below(40)).min(text.len()))),
        }
    }
    text
}

/// The value after `skip` others in document order, and the number of values.
fn nodes<'j>(at: &'j mut Json, skip: &mut usize) -> (Option<&'j mut Json>, usize) {
    if *skip == 0 {
        return (Some(at), 1);
    }
    *skip -= 1;
    let mut count = 1;
    let inner: Vec<&mut Json> = match at {
        Json::List(items) => items.iter_mut().collect(),
        Json::Object(members) => members.iter_mut().map(|(_, v)| v).collect(),
        _ => Vec::new(),
    };
    for item in inner {
        let (found, more) = nodes(item, skip);
        if found.is_some() {
            return (found, 0);
        }
        count += more;
    }
    (None, count)
}

/// One name of a table.
fn a_name<T: Copy>(table: &NameTable<T>, random: &mut Random) -> &'static str {
    word(table.text, random.below(table.values.len()))
}

/// Makes one change that keeps the form.
fn change(profile: &mut Json, corpus: &[Json], random: &mut Random) {
    let Json::Object(members) = profile else { return };
    match random.below(12) {
        0 => action(members, "defaultAction", "defaultErrnoRet", random),
        1 => {
            let some: Vec<&str> = (0..random.below(5)).map(|_| a_name(&ALL, random)).collect();
            set(members, "architectures", Json::strs(some));
        }
        2 => {
            let some: Vec<&str> = (0..random.below(3)).map(|_| a_name(&FLAGS, random)).collect();
            set(members, "flags", Json::strs(some));
        }
        3 => set(members, "listenerPath", Json::str("/run/listener")),
        _ => {
            if !members.iter().any(|(key, _)| *key == "syscalls") {
                set(members, "syscalls", Json::List(Vec::new()));
            }
            if let Some(Json::List(rules)) = get(members, "syscalls") {
                change_rules(rules, corpus, random);
            }
        }
    }
}

fn change_rules(rules: &mut Vec<Json>, corpus: &[Json], random: &mut Random) {
    if rules.is_empty() || random.one_in(8) {
        // Takes a rule of another profile.
        if let Some(Json::List(others)) = corpus[random.below(corpus.len())].get("syscalls") {
            let other = (!others.is_empty()).then(|| others[random.below(others.len())].clone());
            rules.extend(other);
        }
        return;
    }
    let at = random.below(rules.len());
    match random.below(10) {
        0 => drop(rules.remove(at)),
        1 => rules.push(rules[at].clone()),
        2 => {
            let last = rules.len() - 1;
            rules.swap(at, last);
        }
        _ => {
            if let Json::Object(rule) = &mut rules[at] {
                change_rule(rule, random);
            }
        }
    }
}

fn change_rule(rule: &mut Vec<(&'static str, Json)>, random: &mut Random) {
    match random.below(6) {
        0 => action(rule, "action", "errnoRet", random),
        1 | 2 => {
            let count = Call::all().count();
            let name = Call::all().nth(random.below(count)).unwrap().name();
            let name = if random.one_in(20) { "warp" } else { name };
            if let Some(Json::List(names)) = get(rule, "names") {
                if names.len() > 1 && random.one_in(2) {
                    names.remove(random.below(names.len()));
                }
                names.push(Json::str(name));
            }
        }
        _ => {
            if !rule.iter().any(|(key, _)| *key == "args") {
                set(rule, "args", Json::List(Vec::new()));
            }
            let Some(Json::List(args)) = get(rule, "args") else { return };
            if args.is_empty() || random.one_in(3) {
                args.push(condition(random));
            } else if random.one_in(3) {
                args.pop();
            } else {
                let at = random.below(args.len());
                args[at] = condition(random);
            }
        }
    }
}

fn condition(random: &mut Random) -> Json {
    let mut value = || if random.one_in(4) { random.next().into() } else { Json::digits(random.pick(EDGES)) };
    let (value, two) = (value(), value());
    Json::object([
        ("index", Json::from(random.below(6))),
        ("value", value),
        ("valueTwo", two),
        ("op", Json::from(a_name(&OPERATORS, random))),
    ])
}

fn action(
    members: &mut Vec<(&'static str, Json)>,
    key: &'static str,
    errno_key: &'static str,
    random: &mut Random,
) {
    let name = a_name(&ACTIONS, random);
    members.retain(|(k, _)| *k != errno_key);
    if matches!(name, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE") && random.one_in(2) {
        members.push((errno_key, Json::from(random.below(4096))));
    }
    set(members, key, Json::from(name));
}

fn get<'j>(members: &'j mut [(&'static str, Json)], key: &str) -> Option<&'j mut Json> {
    members.iter_mut().find(|(k, _)| *k == key).map(|(_, v)| v)
}

fn set(members: &mut Vec<(&'static str, Json)>, key: &'static str, value: Json) {
    members.retain(|(k, _)| *k != key);
    members.push((key, value));
}
