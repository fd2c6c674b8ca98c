//! The acts on time, signals, processes and memory.

use crate::act::{done, errno};
use crate::json::{list, text};
use crate::{Probe, crowd, fail};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// Performs one act; an unknown word is a bug of the test.
pub fn act(word: &str, probe: &mut Probe) {
    match word {
        "sleep" | "pause" | "until" | "exit" | "leave" | "crash" => stay(word, probe),
        "kill" | "trap" | "await" => signal(word, probe),
        "fork" | "orphan" | "crowd" | "peak" => start(word, probe),
        "stdin" | "print" | "complain" => stream(word, probe),
        "eat" | "spin" => use_up(word, probe),
        "lie" | "keep" | "stare" => attack(word, probe),
        other => fail(&format!("no such question or act: {other:?}")),
    }
}

/// Stays for a time, or ends.
fn stay(word: &str, probe: &mut Probe) {
    match word {
        "sleep" => {
            let seconds = probe.argument(word);
            probe.say();
            std::thread::sleep(Duration::from_secs_f64(
                seconds.parse().unwrap_or_else(|_| fail("sleep: no number")),
            ));
        }
        "pause" => {
            probe.say();
            loop {
                unsafe { libc::pause() };
            }
        }
        // Waits for a file, so that a test can tell a running probe to continue.
        "until" => {
            let path = probe.argument(word);
            probe.say();
            while fs::symlink_metadata(&path).is_err() {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        "exit" => {
            let status = probe.number(word);
            probe.say();
            std::process::exit(status as i32);
        }
        "leave" => {
            // Ends the first thread; another one runs for so many seconds.
            let seconds = probe.number(word);
            probe.say();
            std::thread::spawn(move || std::thread::sleep(Duration::from_secs(seconds as u64)));
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
        // crash: even pid 1 dies of its own fault.
        _ => {
            probe.say();
            unsafe { std::ptr::null_mut::<u8>().write_volatile(1) };
        }
    }
}

/// Sends, blocks or awaits signals.
fn signal(word: &str, probe: &mut Probe) {
    match word {
        "kill" => {
            let (pid, signal) = (probe.number(word), probe.argument(word));
            let r = unsafe { libc::kill(pid as libc::pid_t, signal_number(&signal)) };
            probe.note(&[word, &pid.to_string(), &signal], done(r.into()));
        }
        "trap" => {
            let names = probe.argument(word);
            let set = signal_set(&names);
            unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        }
        // await
        _ => {
            let names = probe.argument(word);
            let set = signal_set(&names);
            let mut got = 0;
            unsafe { libc::sigwait(&raw const set, &raw mut got) };
            probe.note(&[word], text(signal_name(got)));
        }
    }
}

/// Starts processes.
fn start(word: &str, probe: &mut Probe) {
    match word {
        "fork" => {
            let count = probe.number(word);
            let pids: Vec<String> = (0..count).map(|_| fork_sleeper()).collect();
            probe.note(&[word, &count.to_string()], list(pids));
        }
        "orphan" => {
            let child = unsafe { libc::fork() };
            if child == 0 {
                fork_sleeper();
                unsafe { libc::_exit(0) };
            }
            let mut status = 0;
            unsafe { libc::waitpid(child, &raw mut status, 0) };
        }
        "crowd" => {
            let count = probe.number(word);
            probe.note(&[word, &count.to_string()], crowd::act(count));
        }
        // peak: runs a command of so many words and returns the peak memory of it or a child, in KiB.
        _ => {
            let count = probe.number(word);
            let words: Vec<String> = (0..count).map(|_| probe.argument(word)).collect();
            let mut command = std::process::Command::new(&words[0]);
            let child = command.args(&words[1..]).stdout(std::process::Stdio::null()).spawn();
            // wait4 below reaps it; that call returns the resource usage.
            #[allow(clippy::zombie_processes)]
            let child = child.unwrap_or_else(|e| fail(&format!("{}: {e}", words[0])));
            let (mut status, mut used) = (0, unsafe { std::mem::zeroed::<libc::rusage>() });
            unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut used) };
            probe.note(&[word, &status.to_string()], used.ru_maxrss.to_string());
        }
    }
}

/// Uses the standard streams.
fn stream(word: &str, probe: &mut Probe) {
    match word {
        "stdin" => {
            let mut line = String::new();
            let read = io::stdin().read_line(&mut line);
            probe.note(&[word], read.map_or_else(errno, |_| text(line.trim_end_matches('\n'))));
        }
        "print" => {
            let what = probe.argument(word);
            println!("{what}");
        }
        // complain
        _ => {
            let what = probe.argument(word);
            eprintln!("{what}");
        }
    }
}

/// Uses memory or time.
fn use_up(word: &str, probe: &mut Probe) {
    match word {
        "eat" => {
            let mib = probe.number(word) as usize;
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            for _ in 0..mib {
                hoard.push(vec![1; 1 << 20]);
            }
            probe.note(
                &[word, &mib.to_string()],
                text(if hoard.iter().all(|h| h[4096] == 1) { "ok" } else { "?" }),
            );
        }
        // spin
        _ => {
            let ms = probe.number(word) as u64;
            let (start, mut n) = (Instant::now(), 0u64);
            while start.elapsed() < Duration::from_millis(ms) {
                n = std::hint::black_box(n + 1);
            }
            probe.note(&[word], n.to_string());
        }
    }
}

/// Attacks the runtime.
fn attack(word: &str, probe: &mut Probe) {
    match word {
        "lie" => {
            let victim = probe.number(word) as u32;
            let stop = probe.argument(word);
            crate::stare::lie(victim, &stop);
        }
        "keep" => {
            let pid = probe.number(word) as u32;
            let stop = probe.argument(word);
            crate::stare::keep(pid, &stop);
        }
        // stare: watches the other processes of the pid namespace until a file appears.
        _ => {
            let path = probe.argument(word);
            probe.say();
            let found = crate::stare::stare(&path);
            probe.note(&[word], found);
        }
    }
}

/// Forks a child that sleeps for an hour and returns its pid.
fn fork_sleeper() -> String {
    let child = unsafe { libc::fork() };
    if child == 0 {
        unsafe {
            libc::sleep(3600);
            libc::_exit(0);
        }
    }
    if child < 0 { errno(io::Error::last_os_error()) } else { child.to_string() }
}

const SIGNALS: [(&str, libc::c_int); 12] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("TERM", libc::SIGTERM),
    ("WINCH", libc::SIGWINCH),
    ("CONT", libc::SIGCONT),
    ("KILL", libc::SIGKILL),
    ("STOP", libc::SIGSTOP),
    ("CHLD", libc::SIGCHLD),
    ("PIPE", libc::SIGPIPE),
];

fn signal_number(name: &str) -> libc::c_int {
    let known = SIGNALS.iter().find(|(n, _)| *n == name).map(|(_, s)| *s);
    known.or_else(|| name.parse().ok()).unwrap_or_else(|| fail(&format!("no such signal: {name:?}")))
}

fn signal_name(number: libc::c_int) -> String {
    SIGNALS.iter().find(|(_, s)| *s == number).map_or_else(|| number.to_string(), |(n, _)| n.to_string())
}

fn signal_set(names: &str) -> libc::sigset_t {
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    unsafe { libc::sigemptyset(&raw mut set) };
    for name in names.split(',') {
        unsafe { libc::sigaddset(&raw mut set, signal_number(name)) };
    }
    set
}
