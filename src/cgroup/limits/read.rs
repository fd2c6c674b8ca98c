//! The strict reader of `linux.resources`.

use super::{
    ANY, DeviceRule, MEMBERS, MKNOD, Member, READ, ResourceField, Resources, RuleKind, Setting, ValueRule,
    WRITE,
};
use crate::error::Quoted;
use crate::json::document;
use crate::json::read::{Fault, Read};
use crate::json::slot::{Checked, Each, Later, Slot, Value, Whole as _, may, must, once};
use crate::json::value::Json;
use crate::text::{Keep, Text};

/// Reads `linux.resources` from a value that is already in memory.
pub fn resources(v: &Json) -> Read<Resources> {
    let mut r = Resources::default();
    document::read_value(v, &mut r)?;
    Ok(r)
}

/// `linux.resources`, or the document of `update --resources`.
impl Slot for Resources {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let mut found = Found { alone: [None; MEMBERS.len()], items: Vec::new() };
        let (mut devices, mut files) = (false, false);
        v.each_set(&mut |key, v| {
            if key.eq_ignore_ascii_case("devices") {
                once(&mut devices).and_then(|()| self.devices.fill(v))
            } else if key.eq_ignore_ascii_case("unified") {
                once(&mut files).and_then(|()| unified(&mut self.unified, v))
            } else {
                found.member(key, v)
            }
        })?;
        self.settings = found.alone.into_iter().flatten().chain(found.items).collect();
        if let (Some(burst), Some(quota @ 1..)) =
            (self.number(ResourceField::Burst), self.number(ResourceField::Quota))
        {
            if burst as u64 > quota as u64 {
                let burst = burst as u64;
                let fault = Fault::of(format_args!("{burst} is more than the quota of {quota}"));
                return Err(fault.at("burst").at("cpu"));
            }
        }
        Ok(())
    }
}

/// Files of v2 that act on processes.
///
/// A pid of the host in them would move a process of the host, which `delete` then kills.
const NO_LIMITS: [&str; 3] = ["cgroup.procs", "cgroup.threads", "cgroup.kill"];

fn unified(files: &mut Vec<(Text, Text)>, v: Value<'_>) -> Read<()> {
    v.each_member(&mut |file, v| {
        let value = v.text()?;
        // The file must be in the cgroup's own directory: `..` and `/` would lead out of it.
        if file.contains('/') || !file.contains('.') || file.starts_with('.') {
            return Err(Fault::new("must be the name of a cgroup v2 file, such as memory.high"));
        }
        if NO_LIMITS.contains(&file) {
            return Err(Fault::new("moves or kills processes and is not a limit"));
        }
        files.push((file, value));
        Ok(())
    })
}

/// The settings read so far.
struct Found {
    /// The members that occur once, in the order of [`MEMBERS`].
    alone: [Option<Setting>; MEMBERS.len()],
    /// The items of lists, in document order.
    items: Vec<Setting>,
}

impl Found {
    /// Reads a section, or a member of `linux.resources` itself; ignores unknown ones.
    fn member(&mut self, name: Text, v: Value<'_>) -> Read<()> {
        let mut sections = MEMBERS.iter().filter_map(Member::section);
        if let Some(section) = sections.find(|section| section.eq_ignore_ascii_case(name)) {
            return v.each_set(&mut |key, v| match Member::find(Some(section), key) {
                Some(member) => self.set(member, v),
                None => Ok(()),
            });
        }
        Member::find(None, name).map_or(Ok(()), |member| self.set(member, v))
    }

    fn set(&mut self, member: &Member, v: Value<'_>) -> Read<()> {
        let what = member.what;
        if member.rule != ValueRule::Items {
            let mut number = Number { what, rule: member.rule, setting: None };
            number.fill(v)?;
            let mut is_found = self.alone[what as usize].is_some();
            self.alone[what as usize] = number.setting;
            return once(&mut is_found);
        }
        match what {
            ResourceField::Rdma => v.each_member(&mut |name, limits| {
                self.items.push(Setting { what, of: rdma(name, limits)?, n: 0 });
                Ok(())
            }),
            _ => v.each(&mut Each(&mut |item| self.item(what, item))),
        }
    }

    fn item(&mut self, what: ResourceField, v: Value<'_>) -> Read<()> {
        let (mut of, mut n) = ("", 0_u64);
        match what {
            ResourceField::Hugepages => {
                v.object(&mut [must("pageSize", &mut Checked(&mut of, page_size)), must("limit", &mut n)])?
            }
            ResourceField::Priority => {
                let mut priority = 0_u32;
                v.object(&mut [must("name", &mut Checked(&mut of, word)), must("priority", &mut priority)])?;
                n = priority.into();
            }
            _ => return self.block_device(what, v),
        }
        self.items.push(Setting { what, of, n: n as i64 });
        Ok(())
    }

    /// Reads an item of one of the lists of block devices.
    fn block_device(&mut self, what: ResourceField, v: Value<'_>) -> Read<()> {
        let [mut major, mut minor] = [0_u32; 2];
        let mut rate = 0_u64;
        let mut weight = Number { what, rule: ValueRule::Share, setting: None };
        let mut leaf_weight = Number { what: ResourceField::DeviceLeafWeight, ..weight };
        let mut fields = vec![must("major", &mut major), must("minor", &mut minor)];
        if what == ResourceField::DeviceWeight {
            fields.push(may("weight", &mut weight));
            fields.push(may("leafWeight", &mut leaf_weight));
        } else {
            fields.push(must("rate", &mut rate));
        }
        v.object(&mut fields)?;
        let of = format!("{major}:{minor}").keep();
        if what != ResourceField::DeviceWeight {
            self.items.push(Setting { what, of, n: rate as i64 });
            return Ok(());
        }
        let before = self.items.len();
        let weights = [weight, leaf_weight].into_iter().filter_map(|weight| weight.setting);
        self.items.extend(weights.map(|setting| Setting { of, ..setting }));
        if self.items.len() == before { Err(Fault::new("needs weight or leafWeight")) } else { Ok(()) }
    }
}

impl Member {
    /// The section of the document; `None` for a list outside of the sections.
    fn section(&self) -> Option<&'static str> {
        self.field().split_once('.').map(|(section, _)| section)
    }

    fn find(section: Option<&str>, key: &str) -> Option<&'static Member> {
        let name = |member: &Member| member.field().rsplit_once('.').map_or(member.field(), |(_, key)| key);
        MEMBERS.iter().find(|member| member.section() == section && name(member).eq_ignore_ascii_case(key))
    }
}

/// The slot for one value.
#[derive(Clone, Copy)]
struct Number {
    what: ResourceField,
    rule: ValueRule,
    setting: Option<Setting>,
}

impl Slot for Number {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let mut setting = Setting { what: self.what, of: "", n: 0 };
        use ValueRule::*;
        let is_set = if self.rule == Text {
            setting.of = v.text()?;
            !setting.of.is_empty()
        } else {
            setting.n = number(v, self.rule)?;
            let zero_is_not_set = matches!(self.rule, SignedOrUnset | UnsignedOrUnset | Bytes | Share | Time);
            setting.n != 0 || !zero_is_not_set
        };
        self.setting = is_set.then_some(setting);
        Ok(())
    }
}

fn number(v: Value<'_>, rule: ValueRule) -> Read<i64> {
    let range = match rule {
        ValueRule::Boolean => {
            let mut flag = false;
            return flag.fill(v).map(|()| flag.into());
        }
        ValueRule::Unsigned | ValueRule::UnsignedOrUnset | ValueRule::Percent => u64::RANGE,
        ValueRule::Word => u32::RANGE,
        ValueRule::Share => u16::RANGE,
        _ => i64::RANGE,
    };
    let n = v.integer(range)? as i64;
    let range = match (rule, n) {
        (ValueRule::Time, ..0) => return Ok(-1),
        (ValueRule::Bytes, ..-1) => "a number of bytes, or -1 for unlimited",
        (ValueRule::Bit, ..0 | 2..) => "0 or 1",
        (ValueRule::Percent, ..0 | 101..) => "0 to 100",
        (ValueRule::Share, 1..10 | 1001..) => "10 to 1000",
        _ => return Ok(n),
    };
    let is = if rule == ValueRule::Bytes { String::new() } else { format!(", is {}", n as u64) };
    Err(Fault::of(format_args!("must be {range}{is}")))
}

/// A rule of `devices[]`.
///
/// Only -1 and an absent number mean "any", and, like in runc, only a rule that denies may omit the accesses: an omission must
/// never grant more.
impl Slot for DeviceRule {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let mut letters = Later::<Letters>::new("access");
        v.object(&mut [
            must("allow", &mut self.allow),
            may(
                "type",
                &mut Each(&mut |v| {
                    self.kind = rule_kind(v.text()?)?;
                    Ok(())
                }),
            ),
            may("major", &mut DeviceNumber(&mut self.major)),
            may("minor", &mut DeviceNumber(&mut self.minor)),
            letters.field(),
        ])?;
        self.access = match self.allow {
            true => letters.required()?.0,
            false => letters.optional()?.map_or(ANY, |l| l.0 & ANY),
        };
        if self.access > ANY {
            return Err(Fault::new("\"a\" is no access that can be allowed, \"rwm\" is").at("access"));
        }
        Ok(())
    }
}

fn rule_kind(kind: Text) -> Read<RuleKind> {
    match kind {
        "a" => Ok(RuleKind::All),
        "c" | "u" => Ok(RuleKind::Char),
        "b" => Ok(RuleKind::Block),
        other => Err(Fault::of(format_args!("unknown {} (known: a, b, c)", Quoted(other)))),
    }
}

/// The letters of a rule.
///
/// runc also takes `rwa`. In a rule that denies, it means all accesses here, which is never less than runc denies.
#[derive(Default)]
struct Letters(u8);

/// Accesses that end with the letter `a`.
const EVERY: u8 = 0x80 | ANY;

impl Slot for Letters {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        let text = v.text()?;
        let rest = text.trim_end_matches('a');
        self.0 = if rest == text { access(text)? } else { EVERY };
        if !rest.is_empty() { access(rest).map(drop) } else { Ok(()) }
    }
}

struct DeviceNumber<'a>(&'a mut Option<u32>);

impl Slot for DeviceNumber<'_> {
    fn fill(&mut self, v: Value<'_>) -> Read<()> {
        // v1 reads 4294967295 as "any", and an eBPF program compares signed numbers; device numbers have at most 20 bits.
        *self.0 = match v.integer(i64::RANGE)? as i64 {
            -1 => None,
            n @ 0..=0x7fff_ffff => Some(n as u32),
            n => return Err(Fault::of(format_args!("{n} is no device number"))),
        };
        Ok(())
    }
}

/// Parses an access string such as `rwm` into bits.
pub fn access(text: &str) -> Read<u8> {
    let bits = text.bytes().try_fold(0, |bits, letter| match letter {
        b'r' => Some(bits | READ),
        b'w' => Some(bits | WRITE),
        b'm' => Some(bits | MKNOD),
        _ => None,
    });
    bits.filter(|bits| *bits != 0)
        .ok_or_else(|| Fault::of(format_args!("must be made of r, w and m, is {}", Quoted(text))))
}

/// Checks a huge page size such as `2MB`.
///
/// It becomes a part of a file name, so its form must be exact (spec: `<size><unit-prefix>B`, powers of 1024).
fn page_size(size: Text) -> Read<()> {
    let digits = size.strip_suffix("B").and_then(|s| s.strip_suffix(['K', 'M', 'G'])).unwrap_or_default();
    if digits.starts_with(['0', '+']) || digits.parse::<u32>().is_err() {
        return Err(Fault::of(format_args!("must be a size such as 64KB, 2MB or 1GB, is {}", Quoted(size))));
    }
    Ok(())
}

/// Reads an RDMA device's limits as the line of `rdma.max`, the same on v1 and v2.
fn rdma(name: Text, v: Value<'_>) -> Read<Text> {
    let [mut handles, mut objects] = [None::<u32>; 2];
    v.object(&mut [may("hcaHandles", &mut handles), may("hcaObjects", &mut objects)])?;
    let mut line = String::new();
    for (name, limit) in [("hca_handle", handles), ("hca_object", objects)] {
        if let Some(n) = limit {
            line.push_str(&format!(" {name}={n}"));
        }
    }
    if line.is_empty() {
        return Err(Fault::new("needs hcaHandles or hcaObjects"));
    }
    word(name)?;
    line.insert_str(0, name);
    Ok(line.keep())
}

/// Checks a name that will be one word of a line in a cgroup file.
fn word(name: Text) -> Read<()> {
    if name.is_empty() || name.contains(|c: char| c.is_ascii_whitespace() || c == '\x0b') {
        return Err(Fault::of(format_args!("must be a name without blanks, is {}", Quoted(name))));
    }
    Ok(())
}
