//! The strict reader of `linux.resources`.

use super::{ANY, DeviceRule, MEMBERS, MKNOD, READ, Resources, Rule, RuleKind, Setting, WRITE, What};
use crate::error::Quoted;
use crate::json::read::{Fault, Read, boolean, integer, object, text};
use crate::json::value::Json;

/// Reads `linux.resources`, or the document of `update --resources`.
pub fn resources(v: &Json) -> Read<Resources> {
    let mut r = Resources { devices: object(v)?.list("devices", device_rule)?, ..Resources::default() };
    for section in ["memory", "cpu", "pids", "blockIO", "network"] {
        v.optional(section, |section| object(section).map(drop))?;
    }
    for member in &MEMBERS {
        let Some((section, key)) = member.field.split_once('.') else { continue };
        let Some(found) = v.get(section) else { continue };
        set(&mut r.settings, found, key, member.what, "", member.rule).map_err(|f| f.at(section))?;
    }
    if let (Some(burst), Some(quota @ 1..)) = (r.number(What::Burst), r.number(What::Quota)) {
        if burst as u64 > quota as u64 {
            let burst = burst as u64;
            let fault = Fault::of(format_args!("{burst} is more than the quota of {quota}"));
            return Err(fault.at("burst").at("cpu"));
        }
    }
    items(v, &mut r.settings)?;
    v.each_member("unified", &mut |file, value| {
        let (file, value) = (text(&Json::Str(file))?, text(value).map_err(|f| f.at(file))?);
        // A file directly in the cgroup's directory: `..` and `/` would lead out of it.
        if file.contains('/') || !file.contains('.') || file.starts_with('.') {
            return Err(Fault::new("must be the name of a cgroup v2 file, such as memory.high").at(file));
        }
        r.unified.push((file, value));
        Ok(())
    })?;
    Ok(r)
}

/// The lists of settings.
fn items(v: &Json, settings: &mut Vec<Setting>) -> Read<()> {
    let none = Json::Null;
    let section = |key| v.get(key).unwrap_or(&none);
    for (key, what) in [
        ("weightDevice", What::DeviceWeight),
        ("throttleReadBpsDevice", What::ReadBps),
        ("throttleWriteBpsDevice", What::WriteBps),
        ("throttleReadIOPSDevice", What::ReadIops),
        ("throttleWriteIOPSDevice", What::WriteIops),
    ] {
        section("blockIO")
            .each_item(key, &mut |device| block_device(device, what, settings))
            .map_err(|f| f.at("blockIO"))?;
    }
    v.each_item("hugepageLimits", &mut |limit| {
        let of = object(limit)?.required("pageSize", page_size)?;
        settings.push(Setting {
            what: What::Hugepages,
            of,
            n: limit.required("limit", integer::<u64>)? as i64,
        });
        Ok(())
    })?;
    let mut priority = |v: &Json| {
        let of = object(v)?.required("name", word)?;
        settings.push(Setting {
            what: What::Priority,
            of,
            n: v.required("priority", integer::<u32>)?.into(),
        });
        Ok(())
    };
    section("network").each_item("priorities", &mut priority).map_err(|f| f.at("network"))?;
    v.each_member("rdma", &mut |name, limits| {
        let of = rdma(name, limits).map_err(|f| f.at(name))?;
        settings.push(Setting { what: What::Rdma, of, n: 0 });
        Ok(())
    })
}

/// An item of one of the lists by block device.
fn block_device(device: &Json, what: What, settings: &mut Vec<Setting>) -> Read<()> {
    let major: u32 = object(device)?.required("major", integer)?;
    let minor: u32 = device.required("minor", integer)?;
    let of = format!("{major}:{minor}").leak();
    if what != What::DeviceWeight {
        settings.push(Setting { what, of, n: device.required("rate", integer::<u64>)? as i64 });
        return Ok(());
    }
    let before = settings.len();
    set(settings, device, "weight", what, of, Rule::Share)?;
    set(settings, device, "leafWeight", What::DeviceLeafWeight, of, Rule::Share)?;
    if settings.len() == before { Err(Fault::new("needs weight or leafWeight")) } else { Ok(()) }
}

/// Sets what a member of the document says, if it is there.
fn set(
    settings: &mut Vec<Setting>,
    v: &Json,
    key: &str,
    what: What,
    of: &'static str,
    rule: Rule,
) -> Read<()> {
    let Some(found) = v.get(key).filter(|_| rule != Rule::Items) else { return Ok(()) };
    let mut setting = Setting { what, of, n: 0 };
    let is_set = match rule {
        Rule::Text => text(found).map(|list| {
            setting.of = list;
            !list.is_empty()
        }),
        _ => number(found, rule).map(|n| {
            setting.n = n;
            use Rule::*;
            n != 0 || !matches!(rule, SignedOrUnset | UnsignedOrUnset | Bytes | Share | Time)
        }),
    };
    if is_set.map_err(|f| f.at(key))? {
        settings.push(setting);
    }
    Ok(())
}

fn number(v: &Json, rule: Rule) -> Read<i64> {
    let n = match rule {
        Rule::Boolean => i64::from(boolean(v)?),
        Rule::Unsigned | Rule::UnsignedOrUnset | Rule::Percent => integer::<u64>(v)? as i64,
        Rule::Word => integer::<u32>(v)?.into(),
        Rule::Share => integer::<u16>(v)?.into(),
        _ => integer::<i64>(v)?,
    };
    let range = match (rule, n) {
        (Rule::Time, ..0) => return Ok(-1),
        (Rule::Bytes, ..-1) => "a number of bytes, or -1 for unlimited",
        (Rule::Bit, ..0 | 2..) => "0 or 1",
        (Rule::Percent, ..0 | 101..) => "0 to 100",
        (Rule::Share, 1..10 | 1001..) => "10 to 1000",
        _ => return Ok(n),
    };
    let is = if rule == Rule::Bytes { String::new() } else { format!(", is {}", n as u64) };
    Err(Fault::of(format_args!("must be {range}{is}")))
}

/// A rule of `devices[]`. Only -1 and an absent number mean "any", and only a denial may leave the accesses out (runc
/// refuses that, too): what was forgotten must not grant more.
pub fn device_rule(v: &Json) -> Read<DeviceRule> {
    // v1 reads 4294967295 as "any", and a program compares with signed numbers; devices have at most 20 bits.
    let number = |v: &Json| match integer::<i64>(v)? {
        -1 => Ok(None),
        n @ 0..=0x7fff_ffff => Ok(Some(n as u32)),
        n => Err(Fault::of(format_args!("{n} is no device number"))),
    };
    let allow = object(v)?.required("allow", boolean)?;
    let letters = |v: &Json| access(text(v)?);
    Ok(DeviceRule {
        allow,
        kind: v.optional("type", rule_kind)?.unwrap_or(RuleKind::All),
        major: v.optional("major", number)?.flatten(),
        minor: v.optional("minor", number)?.flatten(),
        access: match allow {
            true => v.required("access", letters)?,
            false => v.optional("access", letters)?.unwrap_or(ANY),
        },
    })
}

fn rule_kind(v: &Json) -> Read<RuleKind> {
    match text(v)? {
        "a" => Ok(RuleKind::All),
        "c" | "u" => Ok(RuleKind::Char),
        "b" => Ok(RuleKind::Block),
        other => Err(Fault::of(format_args!("unknown {} (known: a, b, c)", Quoted(other)))),
    }
}

/// The bits of an access string such as `rwm`.
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

/// `2MB`: it becomes part of a file's name, so its form is exact (spec: `<size><unit-prefix>B`, powers of 1024).
fn page_size(v: &Json) -> Read<&'static str> {
    let size = text(v)?;
    let digits = size.strip_suffix("B").and_then(|s| s.strip_suffix(['K', 'M', 'G'])).unwrap_or_default();
    if digits.starts_with(['0', '+']) || digits.parse::<u32>().is_err() {
        return Err(Fault::of(format_args!("must be a size such as 64KB, 2MB or 1GB, is {}", Quoted(size))));
    }
    Ok(size)
}

/// The limits of a device as the line of `rdma.max`, the same on both versions.
fn rdma(name: &'static str, limits: &Json) -> Read<&'static str> {
    object(limits)?;
    let mut line = String::new();
    for (key, name) in [("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")] {
        if let Some(n) = limits.optional(key, integer::<u32>)? {
            line.push_str(&format!(" {name}={n}"));
        }
    }
    if line.is_empty() {
        return Err(Fault::new("needs hcaHandles or hcaObjects"));
    }
    line.insert_str(0, word(&Json::Str(name))?);
    Ok(line.leak())
}

/// A name that shares a line of a cgroup file with other words.
fn word(v: &Json) -> Read<&'static str> {
    let name = text(v)?;
    if name.is_empty() || name.contains(|c: char| c.is_ascii_whitespace() || c == '\x0b') {
        return Err(Fault::of(format_args!("must be a name without blanks, is {}", Quoted(name))));
    }
    Ok(name)
}
