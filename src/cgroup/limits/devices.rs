//! Device rules, which decide a container's access to devices, and v1's lists.
//!
//! The meaning is the same on v1 and v2: everything is denied first; then the rules apply in order, so a later rule overrides an
//! earlier one; finally the default devices are allowed. This is runc's order: engines begin the list with a rule that denies
//! everything, and rely on it.

use std::fmt;

use super::knob::Knob;
use super::{ANY, DeviceRule, MKNOD, READ, RuleKind, WRITE, access};
use crate::error::{Error, Result};
use crate::json::value::Json;

const fn char_device(major: Option<u32>, minor: Option<u32>, access: u8) -> DeviceRule {
    DeviceRule { allow: true, kind: RuleKind::Char, major, minor, access }
}

/// The rules that apply last: default devices, ptys, and mknod of any device.
pub const DEFAULTS: [DeviceRule; 10] = [
    char_device(None, None, MKNOD),
    DeviceRule { allow: true, kind: RuleKind::Block, major: None, minor: None, access: MKNOD },
    char_device(Some(1), Some(3), ANY), // null
    char_device(Some(1), Some(8), ANY), // random
    char_device(Some(1), Some(7), ANY), // full
    char_device(Some(5), Some(0), ANY), // tty
    char_device(Some(1), Some(5), ANY), // zero
    char_device(Some(1), Some(9), ANY), // urandom
    char_device(Some(136), None, ANY),  // pts/*
    char_device(Some(5), Some(2), ANY), // ptmx
];

/// All rules of a container: those of the config, then the defaults.
pub fn complete(rules: &[DeviceRule]) -> Vec<DeviceRule> {
    rules.iter().chain(&DEFAULTS).copied().collect()
}

/// Whether the rules allow every access to every device.
pub fn deny_nothing(rules: &[DeviceRule]) -> bool {
    rules.iter().rposition(DeviceRule::is_total).is_some_and(|last| rules[last..].iter().all(|r| r.allow))
}

/// Whether a rule matches only a default device, which every container has.
pub fn is_default(device: &DeviceRule) -> bool {
    DEFAULTS.iter().any(|d| d.access == ANY && d.kind == device.kind && d.covers(device))
}

impl DeviceRule {
    /// Whether the rule matches every device and every access.
    pub(in crate::cgroup) fn is_total(&self) -> bool {
        let (kind, numbers) = (self.kind == RuleKind::All, self.major.is_none() && self.minor.is_none());
        kind && numbers && self.access == ANY
    }

    /// Whether the rule covers every device of `other`; both must be of one kind.
    fn covers(&self, other: &DeviceRule) -> bool {
        let wide = |mine: Option<u32>, its: Option<u32>| mine.is_none() || mine == its;
        wide(self.major, other.major) && wide(self.minor, other.minor)
    }

    /// Whether both rules match some common device; both must be of one kind.
    fn meets(&self, other: &DeviceRule) -> bool {
        let common = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        common(self.major, other.major) && common(self.minor, other.minor)
    }

    /// The rule as a line of v1's `devices.allow` or `devices.deny`: `c 1:3 rwm`.
    pub(in crate::cgroup) fn line(&self) -> String {
        let kind = if self.kind == RuleKind::Block { 'b' } else { 'c' };
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        format!("{kind} {}:{} {}", number(self.major), number(self.minor), self.letters())
    }

    /// The rule in the form of `linux.resources.devices[]`, for the state record.
    pub fn to_json(&self) -> Json {
        let number = |n: Option<u32>| n.map_or(Json::from(-1), Json::from);
        Json::fields([
            ("allow", Json::from(self.allow)),
            ("type", Json::str(self.letter())),
            ("major", number(self.major)),
            ("minor", number(self.minor)),
            ("access", Json::str(self.letters())),
        ])
    }

    /// `type`
    fn letter(&self) -> &'static str {
        match self.kind {
            RuleKind::All => "a",
            RuleKind::Char => "c",
            RuleKind::Block => "b",
        }
    }

    fn letters(&self) -> String {
        let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
        letters.iter().filter(|(bit, _)| self.access & bit != 0).map(|(_, letter)| letter).collect()
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or("*".to_owned(), |n| n.to_string());
        let (verb, numbers) =
            (if self.allow { "allow" } else { "deny" }, [self.major, self.minor].map(number));
        write!(f, "{verb} {} {} {}", self.letter(), numbers.join(":"), self.letters())
    }
}

/// The two modes of a v1 device cgroup: allow or deny everything, with exceptions.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitelist {
    /// The answer for a device without an exception.
    pub allow: bool,
    /// The exceptions, of [`RuleKind::Char`] or [`RuleKind::Block`].
    pub exceptions: Vec<DeviceRule>,
}

/// The rules as a v1 device cgroup can hold them.
///
/// v1 has no order: it cannot allow a range of devices with exceptions. An error names such a rule.
pub fn v1(rules: &[DeviceRule]) -> Result<Whitelist> {
    let mut list = Whitelist { allow: false, exceptions: Vec::new() };
    for rule in rules {
        if rule.is_total() {
            list = Whitelist { allow: rule.allow, exceptions: Vec::new() };
            continue;
        }
        let kinds: &[RuleKind] = match rule.kind {
            RuleKind::All => &[RuleKind::Char, RuleKind::Block],
            RuleKind::Char => &[RuleKind::Char],
            RuleKind::Block => &[RuleKind::Block],
        };
        for kind in kinds {
            let rule = DeviceRule { kind: *kind, ..*rule };
            if rule.allow == list.allow { list.take_back(&rule)? } else { list.except(rule) }
        }
    }
    Ok(list)
}

impl Whitelist {
    fn except(&mut self, mut rule: DeviceRule) {
        // v1 requires one exception that has all accesses of a request; mknod is always requested alone.
        for known in self.exceptions.iter_mut().filter(|e| e.kind == rule.kind) {
            if known.covers(&rule) {
                rule.access |= known.access & (READ | WRITE);
            }
            if rule.covers(known) {
                known.access |= rule.access & if known.covers(&rule) { ANY } else { READ | WRITE };
            }
        }
        if !self.exceptions.iter().any(|e| e.kind == rule.kind && e.covers(&rule) && rule.covers(e)) {
            self.exceptions.push(rule);
        }
    }

    fn take_back(&mut self, rule: &DeviceRule) -> Result<()> {
        for known in &mut self.exceptions {
            if known.kind != rule.kind || known.access & rule.access == 0 || !known.meets(rule) {
                continue;
            }
            if !rule.covers(known) {
                let verb = if rule.allow { "allow" } else { "deny" };
                return Err(Error::of(format_args!(
                    "linux.resources.devices: cgroup v1 cannot {verb} {} as an exception to the earlier rule for {}",
                    rule.line(),
                    known.line()
                )));
            }
            known.access &= !rule.access;
        }
        self.exceptions.retain(|e| e.access != 0);
        Ok(())
    }

    /// The writes that replace any present rules, never allowing too much in between.
    pub fn knobs(&self) -> Vec<Knob> {
        let (base, other) =
            if self.allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
        let mut list = vec![Knob::new("devices", base, "a".to_owned())];
        list.append(&mut knobs(other, &self.exceptions));
        list
    }
}

/// The writes to `devices.allow` or `devices.deny`.
pub(in crate::cgroup) fn knobs(file: &'static str, rules: &[DeviceRule]) -> Vec<Knob> {
    rules.iter().map(|rule| Knob::new("devices", file, rule.line())).collect()
}

/// Parses v1's `devices.list`; `None` if everything is allowed by default.
///
/// The kernel does not show the exceptions in that mode.
pub(in crate::cgroup) fn parse_list(text: &str) -> Option<Whitelist> {
    let exception = |line: &str| {
        let mut words = line.split([' ', ':']);
        let kind = match words.next()? {
            "c" => RuleKind::Char,
            "b" => RuleKind::Block,
            _ => return None,
        };
        let mut number = || Some(words.next()?.parse().ok());
        let (major, minor) = (number()?, number()?);
        Some(DeviceRule { allow: true, kind, major, minor, access: access(words.next()?).ok()? })
    };
    let exceptions = text.lines().map(exception).collect::<Option<_>>()?;
    Some(Whitelist { allow: false, exceptions })
}

/// The accesses that are exceptions in `list` but not in `other`.
///
/// Only entries with the same numbers count: v1 adds and removes exceptions one by one.
pub(in crate::cgroup) fn beyond(list: &Whitelist, other: &Whitelist) -> Vec<DeviceRule> {
    let same = |a: &DeviceRule, b: &DeviceRule| a.kind == b.kind && a.covers(b) && b.covers(a);
    let rest = |rule: &DeviceRule| {
        let known = other.exceptions.iter().filter(|e| same(e, rule)).fold(0, |bits, e| bits | e.access);
        DeviceRule { access: rule.access & !known, ..*rule }
    };
    list.exceptions.iter().map(rest).filter(|r| r.access != 0).collect()
}

/// Appends a rule and drops the earlier rules that it makes redundant.
///
/// This keeps a list of hot-plugged devices from growing.
pub fn append(rules: &mut Vec<DeviceRule>, rule: DeviceRule) {
    let kind = |earlier: &DeviceRule| rule.kind == RuleKind::All || rule.kind == earlier.kind;
    rules.retain(|earlier| !(kind(earlier) && rule.covers(earlier) && earlier.access & !rule.access == 0));
    rules.push(rule);
}

/// The rules in the form of `linux.resources.devices`, for the state record.
pub fn to_json(rules: &[DeviceRule]) -> Json {
    Json::List(rules.iter().map(DeviceRule::to_json).collect())
}

#[cfg(test)]
pub(in crate::cgroup) mod tests {
    use super::*;

    /// The plain meaning of the rules: the last match decides each access.
    pub fn reference(rules: &[DeviceRule], kind: RuleKind, major: u32, minor: u32, asked: u8) -> bool {
        [READ, WRITE, MKNOD].iter().filter(|bit| asked & **bit != 0).all(|bit| {
            let matches = |r: &&DeviceRule| {
                (r.kind == RuleKind::All || r.kind == kind)
                    && r.major.is_none_or(|n| n == major)
                    && r.minor.is_none_or(|n| n == minor)
                    && r.access & bit != 0
            };
            rules.iter().rev().find(matches).is_some_and(|r| r.allow)
        })
    }

    /// The verdict of a v1 device cgroup (security/device_cgroup.c).
    fn whitelist(list: &Whitelist, kind: RuleKind, major: u32, minor: u32, asked: u8) -> bool {
        let request = DeviceRule { allow: true, kind, major: Some(major), minor: Some(minor), access: asked };
        let mut same = list.exceptions.iter().filter(|e| e.kind == kind && e.covers(&request));
        if list.allow { same.all(|e| e.access & asked == 0) } else { same.any(|e| asked & !e.access == 0) }
    }

    /// A xorshift generator, so that each run has the same rules.
    pub struct Dice(pub u64);

    impl Dice {
        pub fn roll(&mut self, sides: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % sides
        }

        pub fn rule(&mut self) -> DeviceRule {
            let number = |n: u64| n.checked_sub(1).map(|n| n as u32);
            DeviceRule {
                allow: self.roll(2) == 1,
                kind: [RuleKind::All, RuleKind::Char, RuleKind::Block][self.roll(3) as usize],
                major: number(self.roll(4)),
                minor: number(self.roll(4)),
                access: 1 + self.roll(7) as u8,
            }
        }
    }

    /// All requests that the random rules can distinguish.
    ///
    /// Like the kernel, they ask for mknod alone, or for reading and writing.
    pub fn requests() -> impl Iterator<Item = (RuleKind, u32, u32, u8)> {
        let numbers = (0..4).flat_map(|major| (0..4).map(move |minor| (major, minor)));
        let kinds = numbers.flat_map(|n| [RuleKind::Char, RuleKind::Block].map(|k| (k, n.0, n.1)));
        kinds.flat_map(|(k, major, minor)| [READ, WRITE, READ | WRITE, MKNOD].map(|a| (k, major, minor, a)))
    }

    #[test]
    fn a_whitelist_means_what_the_rules_mean_or_is_refused() {
        let mut dice = Dice(7);
        let mut accepted = 0;
        for _ in 0..20_000 {
            let rules: Vec<DeviceRule> = (0..dice.roll(5)).map(|_| dice.rule()).collect();
            let Ok(list) = v1(&rules) else { continue };
            accepted += 1;
            for (kind, major, minor, asked) in requests() {
                let (is, should) = (
                    whitelist(&list, kind, major, minor, asked),
                    reference(&rules, kind, major, minor, asked),
                );
                // v1 denies reading and writing together if the exceptions cross (1:* r, *:3 w).
                let crossing = !list.allow && asked == READ | WRITE;
                assert!(
                    is == should || (crossing && !is),
                    "{asked} of {kind:?} {major}:{minor} under {rules:#?} as {list:#?}"
                );
            }
        }
        assert!(accepted > 10_000, "{accepted}");
    }

    #[test]
    fn the_usual_list_is_a_denial_and_the_defaults() {
        let all = DeviceRule { allow: false, kind: RuleKind::All, major: None, minor: None, access: ANY };
        let tty = DeviceRule {
            allow: true,
            kind: RuleKind::Char,
            major: Some(188),
            minor: Some(0),
            access: READ | WRITE,
        };
        let lines: Vec<(String, String)> = v1(&complete(&[all, tty]))
            .unwrap()
            .knobs()
            .into_iter()
            .map(|k| (k.file.to_owned(), k.value.to_owned()))
            .collect();
        let allowed = [
            "c 188:0 rw",
            "c *:* m",
            "b *:* m",
            "c 1:3 rwm",
            "c 1:8 rwm",
            "c 1:7 rwm",
            "c 5:0 rwm",
            "c 1:5 rwm",
            "c 1:9 rwm",
            "c 136:* rwm",
            "c 5:2 rwm",
        ];
        assert_eq!(lines[0], ("devices.deny".to_owned(), "a".to_owned()));
        assert_eq!(lines[1..], allowed.map(|l| ("devices.allow".to_owned(), l.to_owned())));

        let everything = DeviceRule { allow: true, ..all };
        let lines = v1(&complete(&[everything])).unwrap().knobs();
        assert_eq!((lines.len(), lines[0].file, lines[0].value), (1, "devices.allow", "a"));
    }

    #[test]
    fn a_list_is_read_back_and_compared() {
        let text = "c 188:0 rw\nb *:* m\nc 136:* rwm\n";
        let list = parse_list(text).unwrap();
        assert_eq!(
            list.exceptions.iter().map(DeviceRule::line).collect::<Vec<_>>(),
            text.lines().collect::<Vec<_>>()
        );
        assert_eq!(parse_list("a *:* rwm\n"), None);
        let other = parse_list("c 188:0 r\nb *:* m\nc 5:0 r").unwrap();
        let lines = |a, b| beyond(a, b).iter().map(DeviceRule::line).collect::<Vec<_>>();
        assert_eq!(lines(&list, &other), ["c 188:0 w", "c 136:* rwm"]);
        assert_eq!(lines(&other, &list), ["c 5:0 r"]);
    }

    #[test]
    fn plugging_in_and_out_does_not_grow_the_list() {
        let start =
            vec![DeviceRule { allow: false, kind: RuleKind::All, major: None, minor: None, access: ANY }];
        let mut rules = start.clone();
        for _ in 0..3 {
            append(&mut rules, char_device(Some(188), Some(0), READ | WRITE));
            append(&mut rules, DeviceRule { allow: false, ..char_device(Some(188), Some(0), ANY) });
        }
        assert_eq!(rules.len(), 2);
        append(&mut rules, char_device(Some(188), Some(0), READ));
        assert_eq!(rules.len(), 3, "the denial of writing still holds");
        append(&mut rules, start[0]);
        assert_eq!(rules, start);
    }

    #[test]
    fn rules_survive_the_state_record() {
        let mut dice = Dice(3);
        let rules: Vec<DeviceRule> = (0..50).map(|_| dice.rule()).collect();
        let record = Json::fields([("devices", to_json(&rules))]);
        assert_eq!(crate::cgroup::limits::resources(&record).unwrap().devices, rules);
    }

    #[test]
    fn what_a_list_cannot_say_is_refused() {
        let allow =
            DeviceRule { allow: true, kind: RuleKind::Char, major: Some(1), minor: None, access: ANY };
        let deny = DeviceRule { allow: false, minor: Some(3), ..allow };
        assert_eq!(
            v1(&[allow, deny]).unwrap_err().to_string(),
            "linux.resources.devices: cgroup v1 cannot deny c 1:3 rwm as an exception to the earlier rule for c 1:* rwm"
        );
    }
}
