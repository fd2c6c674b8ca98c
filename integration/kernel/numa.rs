//! `linux.memoryPolicy`: where the program's memory comes from.

use crate::cases;
use crate::common::{Case, Container, Test};
use serde_json::{Value, json};
use std::fs;

pub const CASES: &[Case] = cases![
    memory_policy_is_set_for_the_program_and_for_exec,
    every_mode_of_the_memory_policy_is_known_to_the_kernel,
    memory_policy_of_the_caller_without_one_is_kept,
    memory_policy_is_set_before_a_filter_that_forbids_it,
    memory_policy_of_a_missing_node_or_without_numa_fails_create_by_name,
    contradictory_memory_policy_is_refused,
];

fn with<'t>(t: &'t Test, policy: Value) -> Container<'t> {
    if !has_numa() {
        t.skip("the kernel has no NUMA");
    }
    anywhere(t, policy)
}

fn has_numa() -> bool {
    fs::metadata("/proc/self/numa_maps").is_ok()
}

fn anywhere<'t>(t: &'t Test, policy: Value) -> Container<'t> {
    let mut c = t.container();
    c.config["linux"]["memoryPolicy"] = policy;
    c
}

const STATIC_NODES: u64 = 1 << 15;
const RELATIVE_NODES: u64 = 1 << 14;

fn memory_policy_is_set_for_the_program_and_for_exec(t: &Test) {
    let mut c = with(t, json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}));
    c.probe("memory-policy pause");
    c.up();
    let policy = json!({"mode": 2 | STATIC_NODES, "nodes": [0]});
    assert_eq!(c.says("memory-policy")["memory-policy"], policy);
    assert_eq!(c.exec(&["probe", "memory-policy"]).ok().probe()["memory-policy"], policy);
    c.remove();
}

fn every_mode_of_the_memory_policy_is_known_to_the_kernel(t: &Test) {
    // Linux 6.9 has all of them.
    let new = fs::metadata("/sys/kernel/mm/mempolicy/weighted_interleave").is_ok();
    for (mode, nodes, flags, seen) in [
        ("MPOL_DEFAULT", None, None, json!({"mode": 0, "nodes": []})),
        ("MPOL_PREFERRED", Some("0"), None, json!({"mode": 1, "nodes": [0]})),
        ("MPOL_BIND", Some("0,0-0"), None, json!({"mode": 2, "nodes": [0]})),
        (
            "MPOL_INTERLEAVE",
            Some("0,3"),
            Some("MPOL_F_RELATIVE_NODES"),
            // The kernel shows relative numbers as they were given.
            json!({"mode": 3 | RELATIVE_NODES, "nodes": [0, 3]}),
        ),
        ("MPOL_LOCAL", None, None, json!({"mode": 4, "nodes": []})),
        ("MPOL_PREFERRED_MANY", Some("0"), None, json!({"mode": 5, "nodes": [0]})),
        ("MPOL_WEIGHTED_INTERLEAVE", Some("0"), None, json!({"mode": 6, "nodes": [0]})),
    ] {
        if !new && mode.contains("_MANY") | mode.contains("WEIGHTED") {
            continue;
        }
        let mut c = with(t, json!({"mode": mode, "nodes": nodes, "flags": flags.map(|flag| [flag])}));
        assert_eq!(c.probe("memory-policy").run().ok().probe()["memory-policy"], seen, "{mode}");
    }
}

fn memory_policy_of_the_caller_without_one_is_kept(t: &Test) {
    let mut c = with(t, Value::Null);
    assert_eq!(c.probe("memory-policy").run().ok().probe()["memory-policy"]["mode"], 0);
}

fn memory_policy_is_set_before_a_filter_that_forbids_it(t: &Test) {
    for no_new_privileges in [false, true] {
        let mut c = with(t, json!({"mode": "MPOL_PREFERRED", "nodes": "0"}));
        c.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        c.config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["set_mempolicy"], "action": "SCMP_ACT_KILL_PROCESS"}],
        });
        assert_eq!(c.probe("memory-policy").run().ok().probe()["memory-policy"]["mode"], 1);
    }
}

fn memory_policy_of_a_missing_node_or_without_numa_fails_create_by_name(t: &Test) {
    let c = anywhere(t, json!({"mode": "MPOL_BIND", "nodes": "1023"}));
    let says = if has_numa() { "linux.memoryPolicy: set_mempolicy: invalid argument" } else { "CONFIG_NUMA" };
    c.create().exits(1).fails(&[says]);
}

fn contradictory_memory_policy_is_refused(t: &Test) {
    for (policy, says) in [
        (json!({}), "linux.memoryPolicy.mode"),
        (json!({"mode": "MPOL_SOMEWHERE"}), "linux.memoryPolicy.mode"),
        (json!({"mode": "MPOL_BIND"}), "linux.memoryPolicy.nodes"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_X"]}), "linux.memoryPolicy.flags[0]"),
        (json!({"mode": "MPOL_BIND", "nodes": "x"}), "linux.memoryPolicy.nodes"),
    ] {
        let c = anywhere(t, policy);
        c.create().exits(1).fails(&[says, "memory policy", "mempolicy"]);
    }
}
