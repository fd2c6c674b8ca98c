//! Compares our reading of each configuration with that of the oci-spec crate.
//!
//! Its derived structs are the oracle for every field of the spec.

use embrun::bundle::config;
use embrun::json::value::Json;
use serde_json::Value;

use crate::configs;
use crate::written::written;
use crate::written_rooms::with_default_errno;

#[test]
fn every_configuration_reads_as_in_oci_spec() {
    for (name, text) in configs() {
        let ours =
            config::spec(&Json::parse(&text).unwrap()).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
        assert_eq!(config::parse(text.clone().leak()).unwrap(), ours, "{name}: unknown fields are not kept");
        let theirs: oci_spec::runtime::Spec =
            serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let ours = normal(written(&ours));
        let theirs = normal(theirs_as_we_mean_it(serde_json::to_value(theirs).unwrap()));
        let mut differences = Vec::new();
        compare("", &ours, &theirs, &mut differences);
        assert!(differences.is_empty(), "{name}:\n{}", differences.join("\n"));
    }
}

/// oci-spec's output without intended differences, each with its reason.
fn theirs_as_we_mean_it(mut v: Value) -> Value {
    if let Some(linux) = v.get_mut("linux").and_then(Value::as_object_mut) {
        resources_as_we_mean_them(linux.get_mut("resources"));
        if let Some(policy) = linux.get_mut("seccomp") {
            with_default_errno(policy, "defaultAction", "defaultErrnoRet");
            for rule in policy.get_mut("syscalls").and_then(Value::as_array_mut).into_iter().flatten() {
                with_default_errno(rule, "action", "errnoRet");
            }
        }
        for device in linux.get_mut("devices").and_then(Value::as_array_mut).into_iter().flatten() {
            // An unbuffered character device is a character device.
            if device["type"] == "u" {
                device["type"] = "c".into();
            }
        }
    }
    // This field has a meaning only with a terminal.
    if v["process"]["terminal"] != true && v["process"].is_object() {
        v["process"].as_object_mut().unwrap().remove("consoleSize");
    }
    v
}

fn resources_as_we_mean_them(resources: Option<&mut Value>) {
    let Some(resources) = resources else { return };
    for rule in resources.get_mut("devices").and_then(Value::as_array_mut).into_iter().flatten() {
        // A rule without an access string or numbers means all; the number -1 does too.
        let access = rule["access"].as_str().unwrap_or("rwm").to_owned();
        rule["access"] =
            ["r", "w", "m"].into_iter().filter(|letter| access.contains(letter)).collect::<String>().into();
        if rule["type"].is_null() {
            rule["type"] = "a".into();
        }
        for number in ["major", "minor"] {
            if rule[number] == -1 {
                rule[number] = Value::Null;
            }
        }
    }
    // These fields are obsolete and ignored with a warning.
    if let Some(memory) = resources.get_mut("memory").and_then(Value::as_object_mut) {
        memory.remove("kernel");
        memory.remove("kernelTCP");
    }
}

const ZERO_COUNTS: [&str; 7] = ["umask", "oomScoreAdj", "fileMode", "size", "swappiness", "burst", "rate"];

/// Removes values that mean the same as an absent field.
///
/// These are null and the zero that the spec gives as the default. Some zeros have another meaning.
fn normal(v: Value) -> Value {
    match v {
        Value::Object(members) => {
            let kept = members.into_iter().map(|(k, v)| (k, normal(v))).filter(|(k, v)| {
                let zero_counts = ZERO_COUNTS.contains(&k.as_str());
                !(is_unset(v) || (v == &Value::from(0) && !zero_counts))
            });
            Value::Object(kept.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normal).collect()),
        other => other,
    }
}

fn is_unset(v: &Value) -> bool {
    match v {
        Value::Null | Value::Bool(false) => true,
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn compare(path: &str, ours: &Value, theirs: &Value, out: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
                let null = Value::Null;
                let (a, b) = (a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
                compare(&format!("{path}.{key}"), a, b, out);
            }
        }
        // oci-spec keeps capabilities as a set, which has no order.
        (Value::Array(a), Value::Array(b)) if path.starts_with(".process.capabilities.") => {
            let sorted = |list: &[Value]| {
                let mut names: Vec<String> = list.iter().map(|v| v.as_str().unwrap().to_owned()).collect();
                names.sort();
                names
            };
            if sorted(a) != sorted(b) {
                out.push(format!("{path}: ours {ours}, oci-spec's {theirs}"));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{path}[{i}]"), a, b, out);
            }
        }
        _ if ours == theirs => {}
        _ => out.push(format!("{path}: ours {ours}, oci-spec's {theirs}")),
    }
}
