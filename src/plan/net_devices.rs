//! `linux.netDevices`: devices of the host that the container gets.

use super::validate::{Refusal, refuse};
use crate::bundle::spec::{Linux, NamespaceKind, NetDevice};
use crate::error::Quoted;
use crate::text::search::{cut, has};

/// The longest name of a network device (IFNAMSIZ without the NUL).
const LONGEST: usize = 15;

/// The name from a template with `%d`, unless it is too long.
pub fn numbered(template: &str, number: u32) -> Option<String> {
    let (before, after) = cut(template, "%d")?;
    Some([before, &number.to_string(), after].concat()).filter(|name| name.len() <= LONGEST)
}

/// Refuses names that the kernel refuses, and a move that leads nowhere.
pub fn validate(linux: &Linux, out: &mut Vec<Refusal>) {
    let devices = linux.net_devices;
    if !devices.is_empty() && linux.namespace(NamespaceKind::Network).is_none() {
        let what =
            format_args!("needs a network namespace (add {{\"type\": \"network\"}} to linux.namespaces)");
        refuse(out, format_args!("linux.netDevices"), what);
    }
    for (i, NetDevice { host, name }) in devices.iter().enumerate() {
        if !is_name(host) {
            refuse(
                out,
                format_args!("linux.netDevices.{host}"),
                format_args!("is not a name of a network device"),
            );
        } else if devices[..i].iter().any(|other| other.host == *host) {
            refuse(out, format_args!("linux.netDevices.{host}"), format_args!("is given twice"));
        }
        let template = name.is_some_and(|name| has(name, "%d"));
        let percents = |name: &str| name.bytes().filter(|b| *b == b'%').count();
        let field = format_args!("linux.netDevices.{host}.name");
        if let Some(name) = name.filter(|name| !is_name(name) || percents(name) != usize::from(template)) {
            refuse(out, field, format_args!("{} is not a name, which may contain %d once", Quoted(name)));
        } else if !template && devices[..i].iter().any(|other| inside(other) == name.unwrap_or(host)) {
            refuse(out, field, format_args!("another device has this name in the container"));
        }
    }
}

fn inside(device: &NetDevice) -> &'static str {
    device.name.unwrap_or(device.host)
}

/// The kernel's rule (dev_valid_name()).
fn is_name(name: &str) -> bool {
    let fits = (1..=LONGEST).contains(&name.len()) && name != "." && name != "..";
    fits && !name.bytes().any(|b| matches!(b, b'/' | b':' | 0xb) || b.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(devices: &'static [NetDevice]) -> Vec<String> {
        let linux = Linux { net_devices: devices, ..Linux::default() };
        let mut out = Vec::new();
        validate(&linux, &mut out);
        out.iter().map(ToString::to_string).skip(1).collect()
    }

    #[test]
    fn names_are_those_of_the_kernel() {
        for name in ["eth0", "a", "123456789012345", "ä", "a.b", "%"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "1234567890123456", "a/b", "a:b", "a b", "a\tb", "a\u{b}"] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn templates() {
        assert_eq!(numbered("eth%d", 7).as_deref(), Some("eth7"));
        assert_eq!(numbered("a%db", 10).as_deref(), Some("a10b"));
        assert_eq!(numbered("12345678901234%d", 9).as_deref(), Some("123456789012349"));
        assert_eq!(numbered("12345678901234%d", 10), None);
    }

    #[test]
    fn clashes_and_invalid_names() {
        const fn of(host: &'static str, name: &'static str) -> NetDevice {
            NetDevice { host, name: Some(name) }
        }
        static GOOD: [NetDevice; 4] =
            [of("a", "b"), of("b", "eth%d"), of("c", "eth%d"), NetDevice { host: "d", name: None }];
        assert_eq!(refusals(&GOOD), [""; 0]);
        static BAD: [NetDevice; 5] = [
            NetDevice { host: "a", name: None },
            of("b", "a"),
            of("b", "x%y"),
            of("c/d", "e"),
            of("e", "a%d%d"),
        ];
        assert_eq!(
            refusals(&BAD),
            [
                "linux.netDevices.b.name: another device has this name in the container",
                "linux.netDevices.b: is given twice",
                r#"linux.netDevices.b.name: "x%y" is not a name, which may contain %d once"#,
                "linux.netDevices.c/d: is not a name of a network device",
                r#"linux.netDevices.e.name: "a%d%d" is not a name, which may contain %d once"#,
            ]
        );
    }
}
