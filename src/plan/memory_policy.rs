//! `linux.memoryPolicy`: which memory nodes the program's memory comes from.

use super::attribute_step::AttributeStep;
use super::process::cpu_list;
use super::validate::{Refusal, refuse};
use crate::bundle::spec::MemoryPolicy;
use crate::error::Quoted;

/// The step that sets a valid policy.
pub fn step(policy: &MemoryPolicy) -> AttributeStep {
    let nodes = policy.nodes.and_then(cpu_list).unwrap_or_default();
    AttributeStep::MemoryPolicy { mode: policy.mode, flags: policy.flags, nodes }
}

/// Refuses what every kernel refuses with the same EINVAL.
pub fn validate(policy: &MemoryPolicy, out: &mut Vec<Refusal>) {
    let MemoryPolicy { mode, flags, nodes } = *policy;
    let mut refuse =
        |key: &str, what: &str| refuse(out, format_args!("linux.memoryPolicy.{key}"), format_args!("{what}"));
    if let Some(list) = nodes.filter(|list| cpu_list(list).is_none()) {
        refuse("nodes", &format!("{} is not a list of nodes, as in \"0-3,7\" (0 to 1023)", Quoted(list)));
    }
    let node_flags = flags & (MemoryPolicy::STATIC_NODES | MemoryPolicy::RELATIVE_NODES);
    match (mode, nodes) {
        (MemoryPolicy::DEFAULT | MemoryPolicy::LOCAL, Some(_)) => {
            refuse("nodes", "must be absent with MPOL_DEFAULT and MPOL_LOCAL");
        }
        (MemoryPolicy::DEFAULT | MemoryPolicy::LOCAL | MemoryPolicy::PREFERRED, None) => {
            if node_flags != 0 {
                refuse("flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES need nodes");
            }
        }
        (_, None) => refuse("nodes", "is required with this mode"),
        (_, Some(_)) => {}
    }
    if node_flags.count_ones() == 2 {
        refuse("flags", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other");
    }
    // MPOL_PREFERRED_MANY has it since Linux 6.8.
    let balanced = matches!(mode, MemoryPolicy::BIND | MemoryPolicy::PREFERRED_MANY);
    if flags & MemoryPolicy::NUMA_BALANCING != 0 && !balanced {
        refuse("flags", "MPOL_F_NUMA_BALANCING is for MPOL_BIND and MPOL_PREFERRED_MANY only");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::config::spec;
    use crate::json::value::Json;

    fn refusals(policy: &str) -> Vec<String> {
        let text = format!(
            r#"{{"ociVersion":"1.3.0","root":{{"path":"x"}},"linux":{{"memoryPolicy":{{{policy}}}}}}}"#
        );
        let spec = spec(&Json::parse(text.as_bytes()).unwrap()).unwrap();
        let mut out = Vec::new();
        validate(&spec.linux.memory_policy.unwrap(), &mut out);
        out.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn policies() {
        for (policy, says) in [
            (r#""mode":"MPOL_DEFAULT""#, None),
            (r#""mode":"MPOL_DEFAULT","nodes":"","flags":[]"#, None),
            (r#""mode":"MPOL_PREFERRED""#, None),
            (r#""mode":"MPOL_BIND","nodes":"0-3,7","flags":["MPOL_F_STATIC_NODES"]"#, None),
            (r#""mode":"MPOL_PREFERRED_MANY","nodes":"0","flags":["MPOL_F_NUMA_BALANCING"]"#, None),
            (r#""mode":"MPOL_LOCAL","nodes":"0""#, Some("nodes: must be absent")),
            (r#""mode":"MPOL_INTERLEAVE""#, Some("nodes: is required")),
            (r#""mode":"MPOL_WEIGHTED_INTERLEAVE","nodes":"1-""#, Some("nodes: \"1-\" is not a list")),
            (
                r#""mode":"MPOL_PREFERRED","flags":["MPOL_F_STATIC_NODES"]"#,
                Some("flags: MPOL_F_STATIC_NODES"),
            ),
            (
                r#""mode":"MPOL_BIND","nodes":"0","flags":["MPOL_F_STATIC_NODES","MPOL_F_RELATIVE_NODES"]"#,
                Some("flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude"),
            ),
            (
                r#""mode":"MPOL_INTERLEAVE","nodes":"0","flags":["MPOL_F_NUMA_BALANCING"]"#,
                Some("flags: MPOL_F_NUMA_BALANCING is for"),
            ),
        ] {
            let refused = refusals(policy);
            match says {
                None => assert_eq!(refused, [""; 0], "{policy}"),
                Some(says) => {
                    assert_eq!(refused.len(), 1, "{policy}: {refused:?}");
                    assert!(refused[0].starts_with(&format!("linux.memoryPolicy.{says}")), "{refused:?}");
                }
            }
        }
    }
}
