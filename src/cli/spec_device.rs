//! `spec --device`: devices of the host as nodes and rules of a configuration.

use std::fmt::Write as _;

use super::device::{is_pty, path_of, rule_of};
use crate::cgroup::limits::{RuleKind, access};
use crate::error::{Error, Result};
use crate::json::value::Json;
use crate::plan::inside_path::InsidePath;
use crate::sys::file::stat;
use crate::text::Text;
use crate::text::search::cut;

/// The hint of errors that a wrong form may cause.
const FORM: &str = "write HOST[:PATH[:ACCESS]]";

/// Devices as items of lists in a configuration; a comma precedes each item.
#[derive(Default)]
pub struct DeviceItems {
    /// `linux.devices`
    pub nodes: String,
    /// `linux.resources.devices`
    pub rules: String,
    /// `mounts`; a pty works only on its own devpts, so it is bound.
    pub mounts: String,
    paths: Vec<InsidePath>,
}

impl DeviceItems {
    /// Adds one: `HOST[:PATH][:ACCESS]`, as docker reads it.
    ///
    /// HOST may contain colons, as the names in `/dev/serial/by-path` do. `owner` has the members that name the node's owner. It
    /// is the program's user, so that only the rules decide: on the host, devices belong to root or to groups that the program
    /// is not in.
    pub fn add(&mut self, option: Text, usual: Text, owner: &str) -> Result<()> {
        let given = option.rsplit_once(':').filter(|(_, letters)| access(letters).is_ok());
        let (paths, letters) = given.unwrap_or((option, usual));
        let host = cut(paths, ":/").map_or(paths, |(host, _)| host);
        let path = paths.get(host.len() + 1..).unwrap_or(host);
        if path.len() < paths.len() && path.contains(':') {
            return Err(Error::new(FORM));
        }
        let node = match stat(host) {
            Err(e) if host.contains(':') => return Err(Error::from(e).hint(FORM)),
            found => found?,
        };
        let rule = rule_of(&node, 0).ok_or_else(|| Error::of(format_args!("{host} is no device")))?;
        let pty = is_pty(&rule);
        // The default rules of every container allow all ptys.
        if pty && letters != usual && !(letters.contains('r') && letters.contains('w')) {
            return Err(Error::new("access to a pty cannot be limited").hint("its owner decides"));
        }
        // The source of a mount is relative to the bundle.
        if pty && !host.starts_with('/') {
            return Err(Error::of(format_args!("{host}: must be an absolute path")));
        }
        let inside = path_of(path)?;
        if self.paths.contains(&inside) {
            return Err(Error::of(format_args!("{path} is given twice")));
        }
        self.paths.push(inside);
        let kind = if rule.kind == RuleKind::Block { 'b' } else { 'c' };
        let [major, minor] = [rule.major, rule.minor].map(Option::unwrap_or_default);
        let numbers = format!(r#""type":"{kind}","major":{major},"minor":{minor}"#);
        let _ = write!(self.rules, r#",{{"allow":true,{numbers},"access":"{letters}"}}"#);
        let [host, path] = [host, path].map(|text| Json::Str(text).compact());
        if pty {
            let options = r#""options":["bind","nosuid","noexec"]"#;
            let _ =
                write!(self.mounts, r#",{{"destination":{path},"type":"bind","source":{host},{options}}}"#);
        } else {
            let bit = |letter, bit| if letters.contains(letter) { bit } else { 0 };
            let mode = bit('r', 0o400) | bit('w', 0o200);
            let _ = write!(self.nodes, r#",{{"path":{path},{numbers},"fileMode":{mode},{owner}}}"#);
        }
        Ok(())
    }
}
