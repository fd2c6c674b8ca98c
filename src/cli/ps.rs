//! `ps`: the processes of a container, as numbers or as rows of the host's ps(1).

use nix::fcntl::OFlag;
use nix::unistd::{dup2_stdout, pipe2};

use super::command::{Format, Globals};
use super::print;
use super::state::look;
use crate::error::{Context, Error, Result};
use crate::json::value::Json;
use crate::state::observe::Status;
use crate::state::record::Record;
use crate::sys::entry::variable;
use crate::sys::file::read_all;
use crate::sys::process::{self, CStrings, Cloned, Ended, default_signals, environment, execve};
use crate::text::c_text;

/// Prints the processes.
pub fn run(globals: &Globals, id: &str, format: Format, options: &[&str]) -> Result<()> {
    let (_, record, status) = look(globals, id)?;
    let pids = if status == Status::Stopped { Vec::new() } else { pids(&record)? };
    match format {
        Format::Json => print(&(Json::List(pids.into_iter().map(Json::from).collect()).compact() + "\n")),
        Format::Table => print(&rows(&host_ps(options)?, &pids)?),
    }
}

/// The processes of the cgroup; without one, only init is known.
fn pids(record: &Record) -> Result<Vec<i32>> {
    let mut pids: Vec<i32> = record.cgroup().pids()?.into_iter().map(|pid| pid.as_raw()).collect();
    if pids.is_empty() {
        pids.extend(record.init.as_ref().filter(|init| init.lives()).map(|init| init.pid));
    }
    pids.sort_unstable();
    Ok(pids)
}

/// The header, and the rows whose PID is one of these.
fn rows(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let column = header
        .split_ascii_whitespace()
        .position(|title| title == "PID")
        .ok_or_else(|| Error::new("ps prints no column PID").hint("with the options given to it"))?;
    let ours = |line: &&str| {
        let pid = line.split_ascii_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid| pids.contains(&pid))
    };
    let mut out = format!("{header}\n");
    for line in lines.filter(ours) {
        out += line;
        out.push('\n');
    }
    Ok(out)
}

/// Runs the host's ps with these options (default `-ef`) and returns its output.
fn host_ps(options: &[&str]) -> Result<String> {
    let options = if options.is_empty() { &["-ef"] } else { options };
    let c = |s: &str| c_text(s.as_bytes()).ok_or_else(|| Error::new("ps: an option holds NUL"));
    let mut argv = CStrings::new([c"ps"]);
    for option in options {
        argv.push(c(option)?);
    }
    let path = variable("PATH").unwrap_or("/usr/bin:/bin");
    let mut programs = Vec::new();
    for dir in path.split(':') {
        programs.push(c(&format!("{dir}/ps"))?);
    }
    let envp = environment();
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).at("pipe2")?;
    let pid = match process::clone(0, None).at("clone")? {
        Cloned::Child => {
            default_signals();
            if dup2_stdout(&theirs).is_ok() {
                for program in &programs {
                    execve(program, &argv, &envp);
                }
            }
            process::exit(127)
        }
        Cloned::Parent { pid, .. } => pid,
    };
    drop(theirs);
    let text = read_all(&ours, usize::MAX).context(|| "read from ps")?;
    match process::wait(pid, true).at("wait for ps")? {
        Some((_, Ended::Exited(0))) => Ok(String::from_utf8_lossy(&text).into_owned()),
        Some((_, Ended::Exited(127))) => {
            Err(Error::new("ps: executable file not found in $PATH").hint("use --format json"))
        }
        Some((_, ended)) => Err(Error::of(format_args!("ps: exit status {}", ended.status()))),
        None => Err(Error::new("ps: vanished")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_picked_by_the_column_that_is_titled_pid() {
        let table =
            "UID   PID  PPID CMD\nroot    1     0 init 12\nroot   12     1 sh\nroot  112    12 sh 12\n";
        assert_eq!(rows(table, &[12]).unwrap(), "UID   PID  PPID CMD\nroot   12     1 sh\n");
        assert_eq!(rows(table, &[]).unwrap(), "UID   PID  PPID CMD\n");
        assert_eq!(
            rows("CMD\nsh\n", &[1]).unwrap_err().to_string(),
            "ps prints no column PID (with the options given to it)"
        );
    }
}
