//! The filters of runc and crun containers, read back from the kernel, beside ours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use embrun::json::value::Json;
use embrun::seccomp::arch::Arch;
use embrun::seccomp::compile::{Filter, compile};
use embrun::seccomp::explain::Cost;
use embrun::seccomp::policy::{Action, Policy};
use embrun::seccomp::sim::{Data, run};
use embrun::seccomp::syscalls::Call;
use embrun::sys::seccomp::SockFilter;

use crate::catalogue;
use crate::libseccomp::{Library, parse};

const ENOSYS: u32 = Action::Errno(38).code();
const ARCHS: &[Arch] = &[Arch::X86_64, Arch::X86, Arch::X32];

#[test]
fn verdicts_match_runc() {
    let (Some(library), Some(host)) = (Library::find(), Host::new("runc")) else { return };
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut failures = Vec::new();
    for (name, policy) in catalogue::profiles() {
        let ours = compile(&policy, Arch::NATIVE).unwrap();
        let Some(theirs) = host.filter(&policy) else {
            eprintln!("SKIPPED: this kernel does not show filters (CONFIG_CHECKPOINT_RESTORE)");
            return;
        };
        for (arch, data) in points(&policy) {
            let (a, b) = (run(&ours.program, &data).0, run(&theirs, &data).0);
            *counts.entry("calls").or_default() += 1;
            if a == b {
                continue;
            }
            // Skip names that Debian's libseccomp does not know, and numbers beyond them.
            let newer = Call::of(arch, data.number).is_some_and(|c| library.number(arch, c.name()).is_none());
            let none = policy.architectures.is_empty() && a == ENOSYS;
            let large = !arch.wide() && values(&policy).iter().any(|v| *v > 0xffff_ffff);
            let gap = arch == Arch::X32 && data.number & 0xff_ffff < 512;
            match (newer, gap) {
                _ if none => *counts.entry("no architectures: runc before 1.2 has no stub").or_default() += 1,
                _ if large => {
                    *counts
                        .entry("values of more than 32 bits for x86, which libseccomp cuts")
                        .or_default() += 1
                }
                (true, _) => *counts.entry("unknown to libseccomp").or_default() += 1,
                (_, true) => *counts.entry("new to a policy that names calls of x32 alone").or_default() += 1,
                _ => failures.push(format!("{name}: {arch:?} {data:x?}: ours {a:#x}, runc's {b:#x}")),
            }
        }
    }
    eprintln!("{counts:#?}");
    let n = failures.len();
    failures.truncate(20);
    assert!(n == 0, "{n} verdicts differ:\n{}", failures.join("\n"));
}

fn values(policy: &Policy) -> Vec<u64> {
    policy.syscalls.iter().flat_map(|r| &r.args).map(|a| a.value).collect()
}

/// Every possible call number, with arguments at the boundaries of the conditions.
fn points(policy: &Policy) -> Vec<(Arch, Data)> {
    let mut values = vec![0, 1, 0xffff_ffff];
    values.extend(self::values(policy).iter().flat_map(|v| [v.wrapping_sub(1), *v, v + 1]));
    let mut points = Vec::new();
    for arch in ARCHS {
        let bit = if *arch == Arch::X32 { 0x4000_0000 } else { 0 };
        for number in (0..1100).map(|n| n | bit).chain([0x3fff_ffff, 0x7fff_ffff, 0x8000_0001, u32::MAX]) {
            for value in &values {
                let value = if arch.wide() { *value } else { value & 0xffff_ffff };
                points.push((*arch, Data { number, audit: arch.audit().unwrap(), args: [value; 6] }));
            }
        }
    }
    points
}

/// Prints the table of docs/seccomp.md.
///
/// Run `cargo test --release --test seccomp figures -- --nocapture`.
#[test]
fn figures_of_the_default_profile() {
    let mut policy = catalogue::engines_default();
    policy.architectures = ARCHS.to_vec();
    let ours = compile(&policy, Arch::NATIVE).unwrap();
    report("embrun", &ours.program);
    for runtime in ["runc", "crun"] {
        if let Some(program) = Host::new(runtime).and_then(|h| h.filter(&policy)) {
            report(runtime, &program);
            assert!(ours.program.len() < program.len());
        }
    }
    let library = Library::find();
    if let Some(Ok(program)) = library.as_ref().map(|l| l.compile(&policy, ARCHS)) {
        report("libseccomp with a binary tree, as runc asks from 1.2 on", &program);
    }
    // Alternate, so that other load on the machine affects both.
    let (mut embrun, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..41 {
        let start = Instant::now();
        assert!(compile(&policy, Arch::NATIVE).is_ok());
        embrun.push(start.elapsed().as_micros());
        theirs.extend(library.as_ref().map(|l| l.time(&policy, ARCHS).as_micros()));
    }
    eprintln!("compiling: embrun {} us", median(embrun));
    if !theirs.is_empty() {
        eprintln!("compiling: libseccomp {} us", median(theirs));
    }
}

fn median(mut times: Vec<u128>) -> u128 {
    times.sort_unstable();
    times[times.len() / 2]
}

fn report(name: &str, program: &[SockFilter]) {
    let filter = Filter { program: program.to_vec(), ..Filter::default() };
    for arch in ARCHS {
        let cost = Cost::of(&filter, *arch).unwrap();
        eprintln!("{name}: {} instructions; {arch:?}: {cost:?}", program.len());
    }
}

/// A place to start containers of another runtime.
struct Host {
    runtime: &'static str,
    dir: PathBuf,
}

impl Host {
    fn new(runtime: &'static str) -> Option<Host> {
        let found = Command::new(runtime).arg("--version").output().is_ok_and(|o| o.status.success());
        let busybox = Path::new("/bin/busybox").exists();
        if Arch::NATIVE != Arch::X86_64 || !found || !busybox || !nix::unistd::geteuid().is_root() {
            eprintln!(
                "SKIPPED: needs x86_64, root, {runtime} and /bin/busybox (Debian: {runtime}, busybox-static)"
            );
            return None;
        }
        let dir = std::env::temp_dir().join(format!("embrun-{runtime}-{:x}", unique()));
        for inside in ["bin", "dev", "proc"] {
            std::fs::create_dir_all(dir.join("rootfs").join(inside)).unwrap();
        }
        std::fs::copy("/bin/busybox", dir.join("rootfs/bin/busybox")).unwrap();
        Some(Host { runtime, dir })
    }

    /// The kernel's filter of a container with the profile; `None` if unreadable.
    fn filter(&self, policy: &Policy) -> Option<Vec<SockFilter>> {
        let text = r#"{"ociVersion":"1.0.2","process":{"user":{"uid":0,"gid":0},"args":["/bin/busybox","sleep","60"],
            "cwd":"/","capabilities":{}},"root":{"path":"rootfs"},"mounts":[{"destination":"/proc","type":"proc","source":"proc"}],
            "linux":{"namespaces":[{"type":"pid"},{"type":"mount"}]}}"#;
        let Json::Object(mut config) = Json::parse(text.as_bytes()).unwrap() else { unreachable!() };
        if let Json::Object(linux) = &mut config.last_mut().unwrap().1 {
            linux.push(("seccomp", catalogue::json(policy)));
        }
        std::fs::write(self.dir.join("config.json"), Json::Object(config).compact()).unwrap();
        let id = format!("embrun-{:x}", unique());
        let pid_file = self.dir.join("pid");
        let mut create = self.command();
        create.arg("run").arg("-d").arg("--bundle").arg(&self.dir).arg("--pid-file").arg(&pid_file).arg(&id);
        // Use a file: the container keeps stderr open, so a pipe would not end.
        let log = self.dir.join("stderr");
        let stderr = std::fs::File::create(&log).unwrap();
        let status = create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).status().unwrap();
        assert!(status.success(), "{}: {}", self.runtime, std::fs::read_to_string(log).unwrap());
        let pid = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
        let program = read_filter(pid);
        let deleted = self.command().args(["delete", "-f", &id]).status().unwrap();
        assert!(deleted.success());
        program
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.runtime);
        if self.runtime == "crun" {
            // crun refuses hosts with both versions of cgroups, even if it creates none.
            let script = "umount /sys/fs/cgroup/unified; exec crun --cgroup-manager=disabled \"$@\"";
            command = Command::new("unshare");
            command.args(["-m", "sh", "-c", script, "sh"]);
        }
        command.arg("--root").arg(self.dir.join("state"));
        command
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    u64::from(std::process::id()) << 16 | NEXT.fetch_add(1, Ordering::Relaxed)
}

/// PTRACE_SECCOMP_GET_FILTER, Linux 4.4.
fn read_filter(pid: i32) -> Option<Vec<SockFilter>> {
    const GET_FILTER: u32 = 0x420c;
    let mut bytes = vec![0u8; 8 * 4096];
    // SAFETY: the kernel writes at most 4096 instructions; this thread stops and releases the process.
    let count = unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_ATTACH, pid, 0, 0), 0, "{}", std::io::Error::last_os_error());
        assert_eq!(libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL), pid);
        let count = libc::ptrace(GET_FILTER as _, pid, 0usize, bytes.as_mut_ptr());
        libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0);
        count
    };
    usize::try_from(count).ok().map(|n| parse(&bytes[..8 * n]))
}
