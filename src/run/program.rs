//! Finds the program inside the container, as the container's user.

use std::ffi::{CStr, CString};

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use crate::error::{Error, Escaped, Quoted, Result, engine};
use crate::plan::Program;
use crate::sys::file::{kind, may_run, stat};
use crate::sys::path::join;
use crate::sys::process::CStrings;
use crate::text::{argument, c_text};

/// The path of `args[0]`: itself if it has a slash, else the first match in PATH.
///
/// PATH is that of the process's own environment. Unlike in execvp(3), an empty part of PATH does not mean the working
/// directory.
pub fn find(program: &Program) -> Result<CString> {
    let name = program.args.first().copied().unwrap_or_default();
    let c = |path: &str| argument(path).ok_or(Errno::EINVAL);
    if name.contains('/') {
        let path = c(name)?;
        return match executable(path) {
            Ok(()) => Ok(path.to_owned()),
            // Go's words for a look-up that failed before the permission check; engines match the end of the line.
            Err(e) if e == Errno::ENOENT || e == Errno::ENOTDIR => {
                Err(Error::os(format_args!("exec: {}: stat {}", Quoted(name), Escaped(name)), e))
            }
            Err(e) => Err(failed(name, e)),
        };
    }
    let path = program.env.iter().find_map(|e| e.strip_prefix("PATH=")).unwrap_or("");
    let mut denied = None;
    for dir in path.split(':').filter(|dir| !dir.is_empty() && !name.is_empty()) {
        let candidate = c(&join(dir, name))?;
        match executable(candidate) {
            Ok(()) => return Ok(candidate.to_owned()),
            Err(Errno::EACCES) => denied = Some(Errno::EACCES),
            Err(_) => {}
        }
    }
    Err(match denied {
        Some(e) => failed(name, e),
        None => Error::of(format_args!("exec: {}: {}", Quoted(name), engine::NOT_FOUND_IN_PATH)),
    })
}

/// The file for which [`find`] failed with EACCES.
pub fn refused(program: &Program) -> Option<&'static CStr> {
    let name = program.args.first().copied().unwrap_or_default();
    if name.contains('/') {
        return argument(name);
    }
    let path = program.env.iter().find_map(|e| e.strip_prefix("PATH="))?;
    let mut candidates = path.split(':').filter_map(|dir| argument(&join(dir, name)));
    candidates.find(|candidate| executable(candidate) == Err(Errno::EACCES))
}

/// The error of a program that cannot be executed.
pub fn failed(name: &str, errno: Errno) -> Error {
    let e = Error::os(format_args!("exec: {}", Quoted(name)), errno);
    // Not every engine expects status 126 for a directory.
    if errno == Errno::EISDIR { e.hint(engine::DENIED) } else { e }
}

fn executable(path: &CStr) -> std::result::Result<(), Errno> {
    match kind(&stat(path)?) {
        SFlag::S_IFDIR => Err(Errno::EISDIR),
        SFlag::S_IFREG => may_run(path, false).or_else(|e| {
            // access(2) ignores the capabilities that the program will have. The filter, which may be loaded already, may not
            // know the newer call.
            if e == Errno::EACCES && may_run(path, true).is_ok() { Ok(()) } else { Err(e) }
        }),
        _ => Err(Errno::EACCES),
    }
}

/// Sets HOME if the process's environment has none, as runc does.
///
/// `home` finds it in the container's /etc/passwd.
pub fn set_home(envp: &mut CStrings, program: &Program, home: impl FnOnce() -> String) {
    if program.env.iter().any(|e| e.len() > 5 && e.starts_with("HOME=")) {
        return;
    }
    if let Some(entry) = c_text(format!("HOME={}", home()).as_bytes()) {
        envp.push(entry);
    }
}
