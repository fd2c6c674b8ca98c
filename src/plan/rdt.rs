//! `linux.intelRdt`: the resctrl groups of the container's processes. Pure.
//!
//! A class of service that the configuration names may be an administrator's, and other containers may be in it. The container
//! has its own class only if it names none.

use std::fmt;

use super::validate::{Refusal, refuse};
use crate::bundle::intel_rdt::IntelRdt;
use crate::bundle::spec::Linux;
use crate::text::{Keep, Text};

/// The usual mount point of resctrl, which the kernel makes for it.
pub const RESCTRL: Text = "/sys/fs/resctrl";

/// The groups of a container, as directories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RdtGroup {
    /// The class of service.
    pub class: Text,
    /// Whether only this container uses the class.
    pub own: bool,
    /// The monitoring group in it, which only this container uses.
    pub monitor: Option<Text>,
    /// The lines to write to a new class, or that an existing one must have.
    pub schemata: Text,
}

impl RdtGroup {
    /// The groups of a valid configuration, if it asks for any.
    pub fn of(linux: &Linux, id: &str) -> Option<&'static RdtGroup> {
        linux.intel_rdt.as_ref().map(|rdt| RdtGroup::new(rdt, id))
    }

    fn new(rdt: &IntelRdt, id: &str) -> &'static RdtGroup {
        let named = rdt.class.filter(|class| !class.is_empty());
        let class = match named {
            Some("/") => RESCTRL,
            name => format!("{RESCTRL}/{}", name.unwrap_or(id)).keep(),
        };
        // Later lines replace earlier ones of the same resource.
        let lines = [rdt.l3, rdt.bandwidth].into_iter().flatten().chain(rdt.schemata.iter().copied());
        let mut schemata = String::new();
        for line in lines.filter(|line| !line.is_empty()) {
            schemata += line;
            schemata.push('\n');
        }
        let monitor = rdt.monitoring.then(|| format!("{class}/mon_groups/{id}").keep());
        Box::new(RdtGroup { class, own: named.is_none(), monitor, schemata: schemata.keep() }).keep()
    }

    /// The directories that are made if they are missing, from the outside in.
    pub fn to_make(&self) -> Vec<Text> {
        let mut all = Vec::new();
        if self.own || !self.schemata.is_empty() {
            all.push(self.class);
        }
        all.extend(self.monitor);
        all
    }

    /// Whether a directory may have processes of other containers.
    ///
    /// A class of the container's own name may be one that its configuration names, and that of others too.
    pub fn is_shared(directory: &str, id: &str) -> bool {
        let above = directory.strip_suffix(id).and_then(|above| above.strip_suffix('/'));
        !above.is_some_and(|above| above.ends_with("/mon_groups"))
    }
}

impl fmt::Display for RdtGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.monitor.unwrap_or(self.class))
    }
}

/// Refuses names that lead elsewhere, and values that are several lines.
pub(super) fn validate(rdt: &IntelRdt, out: &mut Vec<Refusal>) {
    let mut refuse =
        |key: &str, what: &str| refuse(out, format_args!("linux.intelRdt.{key}"), format_args!("{what}"));
    let elsewhere = |name: &Text| {
        *name != "/" && (name.bytes().any(|b| matches!(b, b'/' | 0 | b'\n')) || matches!(*name, "." | ".."))
    };
    if rdt.class.is_some_and(|name| elsewhere(&name)) {
        refuse("closID", "is not the name of a class of service");
    }
    if rdt.bandwidth.is_some_and(|line| !line.is_empty() && (!line.starts_with("MB:") || line.contains('\n')))
    {
        refuse("memBwSchema", "is not one line that begins with \"MB:\"");
    }
    if rdt.schemata.iter().any(|line| line.contains('\n')) {
        refuse("schemata", "has an entry of several lines");
    }
}

/// The first wanted line that a class of service does not have.
///
/// `present` is the content of its `schemata`, where the kernel pads names and values. Only the domains that a line names count.
pub fn missing_line(wanted: Text, present: &str) -> Option<Text> {
    wanted.lines().find(|line| {
        let (name, pairs) = line.split_once(':').unwrap_or((line, line));
        let is_there = |pair: &str| {
            present.lines().any(|there| {
                let (other, pairs) = there.split_once(':').unwrap_or_default();
                other.trim_ascii() == name && pairs.split(';').any(|there| is_same(pair, there))
            })
        };
        !pairs.split(';').all(|pair| pair.is_empty() || is_there(pair))
    })
}

/// Whether two texts `domain=value` mean the same.
///
/// The kernel writes values with zeros or spaces in front.
fn is_same(a: &str, b: &str) -> bool {
    let (Some(a), Some(b)) = (a.split_once('='), b.split_once('=')) else { return false };
    a.0.trim_ascii() == b.0.trim_ascii() && without_zeros(a.1).eq_ignore_ascii_case(without_zeros(b.1))
}

fn without_zeros(value: &str) -> &str {
    value.trim_ascii().trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_a_configuration() {
        let rdt = IntelRdt { monitoring: true, ..IntelRdt::default() };
        let own = RdtGroup::new(&rdt, "web");
        assert_eq!(own.to_make(), ["/sys/fs/resctrl/web", "/sys/fs/resctrl/web/mon_groups/web"]);
        let rdt = IntelRdt { class: Some("/"), monitoring: true, ..rdt };
        assert_eq!(RdtGroup::new(&rdt, "web").to_make(), ["/sys/fs/resctrl/mon_groups/web"]);
        let rdt = IntelRdt {
            class: Some("gold"),
            l3: Some("L3:0=f"),
            schemata: &["MB:0=9", ""],
            ..IntelRdt::default()
        };
        let gold = RdtGroup::new(&rdt, "web");
        assert_eq!(gold.schemata, "L3:0=f\nMB:0=9\n");
        assert_eq!(gold.to_make(), ["/sys/fs/resctrl/gold"]);
        assert!(RdtGroup::is_shared("/sys/fs/resctrl/gold", "web"));
        assert!(RdtGroup::is_shared("/sys/fs/resctrl/gold-web", "web"));
        assert!(RdtGroup::is_shared("/sys/fs/resctrl/web", "web"));
        assert!(!RdtGroup::is_shared("/sys/fs/resctrl/gold/mon_groups/web", "web"));
    }

    #[test]
    fn lines_of_an_existing_class_are_compared_by_domain_and_value() {
        let present = "    L3:0=0ff;1=fff\n    MB:0= 50;1=100\nL3CODE:0=1\n";
        for wanted in ["L3:0=FF", "L3:1=fff;0=ff\n", "MB:0=50\nL3:0=ff;\n", "", "\n", "L3:"] {
            assert_eq!(missing_line(wanted, present), None, "{wanted:?}");
        }
        for (wanted, missing) in [
            ("L3:0=f", "L3:0=f"),
            ("L3:0=ff\nMB:1=50", "MB:1=50"),
            ("L3:2=ff", "L3:2=ff"),
            ("L2:0=1", "L2:0=1"),
            ("L3:0", "L3:0"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(missing_line(wanted, present), Some(missing), "{wanted:?}");
        }
    }

    #[test]
    fn values_that_lead_elsewhere_are_refused() {
        let says = |rdt: IntelRdt| {
            let mut out = Vec::new();
            validate(&rdt, &mut out);
            out.iter().map(|refusal| refusal.field).collect::<Vec<_>>()
        };
        let of = |class| IntelRdt { class: Some(class), ..IntelRdt::default() };
        for name in ["", "/", "gold", "..."] {
            assert_eq!(says(of(name)), [""; 0], "{name}");
        }
        for name in [".", "..", "a/b", "/a", "a\n", "a\0"] {
            assert_eq!(says(of(name)), ["linux.intelRdt.closID"], "{name}");
        }
        let rdt =
            IntelRdt { bandwidth: Some("L3:0=f"), schemata: &["a:0=1\nb:0=1"], l3: Some("a\nb"), ..of("x") };
        assert_eq!(says(rdt), ["linux.intelRdt.memBwSchema", "linux.intelRdt.schemata"]);
        let rdt = IntelRdt { bandwidth: Some("MB:0=1\n"), ..of("x") };
        assert_eq!(says(rdt), ["linux.intelRdt.memBwSchema"]);
    }
}
