//! Writes `linux.resources` and `linux.seccomp` as the equivalent JSON.

use embrun::cgroup::limits::{DeviceRule, READ, ResourceField, Resources, RuleKind, Setting, WRITE};
use embrun::seccomp::policy::{ACTIONS, Action, FLAGS, OPERATORS, Policy, Rule};
use serde_json::{Map, Value, json};

pub fn resources(r: &Resources) -> Value {
    let n = |what| r.number(what);
    let unsigned = |what| r.number(what).map(|n| n as u64);
    let flag = |what| r.number(what).map(|n| n == 1);
    let text = |what| Some(r.text(what)).filter(|text| !text.is_empty());
    json!({
        "devices": r.devices.iter().map(device_rule).collect::<Value>(),
        "memory": {
            "limit": n(ResourceField::Limit),
            "reservation": n(ResourceField::Reservation),
            "swap": n(ResourceField::Swap),
            "swappiness": n(ResourceField::Swappiness),
            "disableOOMKiller": flag(ResourceField::DisableOomKiller),
            "useHierarchy": flag(ResourceField::UseHierarchy),
            "checkBeforeUpdate": flag(ResourceField::CheckBeforeUpdate).unwrap_or(false),
        },
        "cpu": {
            "shares": unsigned(ResourceField::Shares),
            "quota": n(ResourceField::Quota),
            "burst": unsigned(ResourceField::Burst),
            "period": unsigned(ResourceField::Period),
            "realtimeRuntime": n(ResourceField::RealtimeRuntime),
            "realtimePeriod": unsigned(ResourceField::RealtimePeriod),
            "cpus": text(ResourceField::Cpus),
            "mems": text(ResourceField::Mems),
            "idle": n(ResourceField::Idle),
        },
        "pids": { "limit": n(ResourceField::Pids) },
        "blockIO": {
            "weight": n(ResourceField::Weight),
            "leafWeight": n(ResourceField::LeafWeight),
            "weightDevice": weight_devices(r),
            "throttleReadBpsDevice": throttles(r, ResourceField::ReadBps),
            "throttleWriteBpsDevice": throttles(r, ResourceField::WriteBps),
            "throttleReadIOPSDevice": throttles(r, ResourceField::ReadIops),
            "throttleWriteIOPSDevice": throttles(r, ResourceField::WriteIops),
        },
        "hugepageLimits": all(r, ResourceField::Hugepages).map(|s| {
            json!({ "pageSize": s.of, "limit": s.n as u64 })
        }).collect::<Value>(),
        "network": {
            "classID": n(ResourceField::ClassId),
            "priorities": all(r, ResourceField::Priority).map(|s| {
                json!({ "name": s.of, "priority": s.n })
            }).collect::<Value>(),
        },
        "rdma": all(r, ResourceField::Rdma).map(|s| rdma(s.of)).collect::<Map<_, _>>(),
        "unified": r.unified.iter().map(|(file, value)| ((*file).to_owned(), json!(value))).collect::<Map<_, _>>(),
    })
}

fn all(r: &Resources, what: ResourceField) -> impl Iterator<Item = &Setting> {
    r.settings.iter().filter(move |s| s.what == what)
}

/// Parses `8:0`.
fn numbers(device: &str) -> (u32, u32) {
    let (major, minor) = device.split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

/// Parses `m hca_handle=3 hca_object=4`.
fn rdma(line: &str) -> (String, Value) {
    let mut words = line.split(' ');
    let name = words.next().unwrap().to_owned();
    let limits: Vec<(&str, u32)> =
        words.map(|w| w.split_once('=').unwrap()).map(|(k, n)| (k, n.parse().unwrap())).collect();
    let limit = |key| limits.iter().find(|(k, _)| *k == key).map(|(_, n)| *n);
    (name, json!({ "hcaHandles": limit("hca_handle"), "hcaObjects": limit("hca_object") }))
}

fn device_rule(rule: &DeviceRule) -> Value {
    let kind = match rule.kind {
        RuleKind::All => "a",
        RuleKind::Char => "c",
        RuleKind::Block => "b",
    };
    let letters = [(READ, 'r'), (WRITE, 'w'), (embrun::cgroup::limits::MKNOD, 'm')];
    let access: String = letters.iter().filter(|(bit, _)| rule.access & bit != 0).map(|(_, c)| c).collect();
    json!({ "allow": rule.allow, "type": kind, "major": rule.major, "minor": rule.minor, "access": access })
}

/// Joins the weight and the leaf weight of each device into one item.
fn weight_devices(r: &Resources) -> Value {
    let is = |s: &&Setting| matches!(s.what, ResourceField::DeviceWeight | ResourceField::DeviceLeafWeight);
    let mut items: Vec<Value> = Vec::new();
    let mut last: Option<&Setting> = None;
    for s in r.settings.iter().filter(is) {
        let leaf = s.what == ResourceField::DeviceLeafWeight;
        if !leaf || last.is_none_or(|l| l.what != ResourceField::DeviceWeight || l.of != s.of) {
            let (major, minor) = numbers(s.of);
            items.push(json!({ "major": major, "minor": minor, "weight": null, "leafWeight": null }));
        }
        items.last_mut().unwrap()[if leaf { "leafWeight" } else { "weight" }] = json!(s.n);
        last = Some(s);
    }
    Value::Array(items)
}

fn throttles(r: &Resources, what: ResourceField) -> Value {
    all(r, what)
        .map(|s| {
            let (major, minor) = numbers(s.of);
            json!({ "major": major, "minor": minor, "rate": s.n as u64 })
        })
        .collect()
}

pub fn policy(p: &Policy) -> Value {
    json!({
        "defaultAction": p.default_action.name(),
        "defaultErrnoRet": errno(p.default_action),
        "architectures": p.architectures.iter().map(|a| a.name()).collect::<Vec<_>>(),
        "flags": p.flags.map(|flags| {
            FLAGS.pairs().filter(|(_, bit)| flags & bit != 0).map(|(name, _)| name).collect::<Vec<_>>()
        }),
        "listenerPath": p.listener_path,
        "listenerMetadata": p.listener_metadata,
        "syscalls": p.syscalls.iter().map(rule).collect::<Value>(),
    })
}

fn rule(r: &Rule) -> Value {
    let operator = |op| OPERATORS.name(|known| known == op);
    json!({
        "names": r.names,
        "action": r.action.name(),
        "errnoRet": errno(r.action),
        "args": r.args.iter().map(|a| json!({
            "index": a.index,
            "value": a.value,
            "valueTwo": a.value_two,
            "op": operator(a.op),
        })).collect::<Value>(),
    })
}

/// The errno of an action; EPERM is the default of a policy.
pub fn errno(action: Action) -> Option<u16> {
    match action {
        Action::Errno(n) | Action::Trace(n) => Some(n),
        _ => None,
    }
}

/// Adds the same default to oci-spec's output and unifies two names of an action.
pub fn with_default_errno(item: &mut Value, action: &str, errno: &str) {
    if matches!(item[action].as_str(), Some("SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE")) && item[errno].is_null() {
        item[errno] = json!(1);
    }
    if let Some(known) = item[action].as_str().and_then(|name| ACTIONS.get(name)) {
        item[action] = json!(known.name());
    }
}
