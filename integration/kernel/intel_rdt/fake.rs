//! A fake resctrl: a FUSE file system that behaves like the kernel's.
//!
//! It is at the usual place. A directory below the root is a class of service with its files, one below `mon_groups` a
//! monitoring group. Both are removed with rmdir(2). A task is in one class, and in a monitoring group of that class only. The kernel checks schemata in the same way.

use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The content of the file system, by path from its root: `None` for a directory.
type Files = BTreeMap<String, Option<String>>;

const ENOENT: i32 = libc::ENOENT;

#[derive(Default)]
struct Content {
    files: Files,
    /// The path of each node that the kernel knows; the root is number 1.
    nodes: Vec<String>,
    /// The changes, in order.
    log: Vec<String>,
    /// The changes until the process that makes one is killed.
    kill: Option<usize>,
}

/// The mounted file system, until it is dropped.
pub struct FakeResctrl(Arc<Mutex<Content>>);

impl FakeResctrl {
    /// Mounts it at /sys/fs/resctrl; `None` if the kernel lacks FUSE.
    pub fn mount() -> Option<FakeResctrl> {
        let device = open("/dev/fuse", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).ok()?;
        // sysfs has no directory for it where the processor lacks the feature.
        fs::create_dir(STAGE).unwrap();
        mount(Some("fs"), STAGE, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        for name in ["cgroup", "resctrl"] {
            fs::create_dir(Path::new(STAGE).join(name)).unwrap();
        }
        shift("/sys/fs/cgroup", &format!("{STAGE}/cgroup"));
        shift(STAGE, "/sys/fs");
        let options = format!("fd={},rootmode=40755,user_id=0,group_id=0", device.as_raw_fd());
        mount(Some("fake"), "/sys/fs/resctrl", Some("fuse"), MsFlags::empty(), Some(options.as_str()))
            .ok()?;
        let mut content = Content { nodes: vec![String::new(), String::new()], ..Content::default() };
        content.files.insert(String::new(), None);
        content.group("", "L3:0=fff;1=fff\nMB:0=100;1=100\n");
        content.files.insert("/info".into(), None);
        content.files.insert("/info/last_cmd_status".into(), Some("ok\n".into()));
        let content = Arc::new(Mutex::new(content));
        let served = content.clone();
        std::thread::spawn(move || serve(&File::from(device), &served));
        Some(FakeResctrl(content))
    }

    /// All directories but `info`, `mon_groups` and the root.
    pub fn groups(&self) -> Vec<String> {
        let content = self.0.lock().unwrap();
        let all = content.files.iter().filter(|(_, file)| file.is_none()).map(|(path, _)| path.clone());
        all.filter(|path| !["", "/info"].contains(&path.as_str()) && !path.ends_with("/mon_groups")).collect()
    }

    /// The content of a file, as the kernel stores it.
    pub fn read(&self, path: &str) -> String {
        self.0.lock().unwrap().files.get(path).cloned().flatten().unwrap_or_default()
    }

    /// The changes so far.
    pub fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }

    /// Forgets the changes, and kills the process that makes a later one.
    pub fn kill_at(&self, change: usize) {
        let mut content = self.0.lock().unwrap();
        content.log.clear();
        content.kill = Some(change);
    }
}

impl Drop for FakeResctrl {
    fn drop(&mut self) {
        let _ = umount2("/sys/fs/resctrl", MntFlags::MNT_DETACH);
        shift("/sys/fs/cgroup", STAGE);
        let _ = umount2("/sys/fs", MntFlags::MNT_DETACH);
        shift(STAGE, "/sys/fs/cgroup");
        let _ = fs::remove_dir(STAGE);
    }
}

const STAGE: &str = "/run/it/resctrl";

/// Moves a mount, if there is one.
fn shift(from: &str, to: &str) {
    let _ = mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>);
}

impl Content {
    fn group(&mut self, path: &str, schemata: &str) {
        for (name, file) in [("tasks", Some("")), ("schemata", Some(schemata)), ("mon_groups", None)] {
            self.files.insert(format!("{path}/{name}"), file.map(str::to_owned));
        }
    }

    /// Fails the change, and says why in `info/last_cmd_status`.
    fn refuse(&mut self, errno: i32, why: &str) -> i32 {
        self.files.insert("/info/last_cmd_status".into(), Some(format!("{why}\n")));
        errno
    }

    fn make(&mut self, path: &str) -> Result<(), i32> {
        let (above, _) = path.rsplit_once('/').unwrap();
        let classes = self.files.iter().filter(|(p, f)| f.is_none() && p.matches('/').count() == 1).count();
        match above {
            "" if classes >= 7 => return Err(self.refuse(libc::ENOSPC, "out of CLOSIDs")),
            "" => {
                let schemata = self.files["/schemata"].clone().unwrap();
                self.group(path, &schemata);
            }
            _ if above.ends_with("/mon_groups") => {
                self.files.insert(format!("{path}/tasks"), Some(String::new()));
            }
            _ => return Err(libc::EPERM),
        }
        self.files.insert(path.to_owned(), None);
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), i32> {
        if !self.files.contains_key(path) {
            return Err(ENOENT);
        }
        self.files.retain(|p, _| p != path && !p.starts_with(&format!("{path}/")));
        Ok(())
    }

    fn write(&mut self, path: &str, text: &str) -> Result<(), i32> {
        let (group, name) = path.rsplit_once('/').unwrap();
        match name {
            "tasks" => self.add_task(group, text.trim()),
            "schemata" => self.set(path, text),
            _ => Err(libc::EACCES),
        }
    }

    fn add_task(&mut self, group: &str, pid: &str) -> Result<(), i32> {
        if pid.parse::<u32>().is_err() || !Path::new(&format!("/proc/{pid}")).exists() {
            return Err(libc::ESRCH);
        }
        let line = format!("{pid}\n");
        if let Some((class, _)) = group.split_once("/mon_groups/") {
            if !self.files[&format!("{class}/tasks")].as_ref().unwrap().contains(&line) {
                return Err(self.refuse(libc::EINVAL, "Can't move task to different control group"));
            }
        } else {
            for (_, file) in self.files.iter_mut().filter(|(path, _)| path.ends_with("/tasks")) {
                *file = Some(file.take().unwrap().replace(&line, ""));
            }
        }
        *self.files.get_mut(&format!("{group}/tasks")).unwrap().as_mut().unwrap() += &line;
        Ok(())
    }

    fn set(&mut self, path: &str, text: &str) -> Result<(), i32> {
        let Some(text) = text.strip_suffix('\n') else { return Err(libc::EINVAL) };
        let mut now: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let present = self.files[path].clone().unwrap();
        for line in present.lines().chain(text.split('\n')) {
            let Some((resource, domains)) = line.split_once(':') else {
                return Err(self.refuse(libc::EINVAL, "Missing ':'"));
            };
            if !present.contains(&format!("{resource}:")) {
                return Err(self.refuse(libc::EINVAL, "Unknown or unsupported resource name"));
            }
            for (domain, value) in domains.split(';').filter_map(|pair| pair.split_once('=')) {
                now.entry(resource.to_owned()).or_default().insert(domain.to_owned(), value.to_owned());
            }
        }
        let line = |(resource, domains): (&String, &BTreeMap<String, String>)| {
            let domains: Vec<_> = domains.iter().map(|(domain, value)| format!("{domain}={value}")).collect();
            format!("{resource}:{}\n", domains.join(";"))
        };
        let text = now.iter().map(line).collect();
        self.files.insert(path.to_owned(), Some(text));
        Ok(())
    }

    /// Notes a change by a process, which may be killed for it.
    fn changes(&mut self, pid: u32, what: String) {
        if self.kill == Some(self.log.len()) {
            self.kill = None;
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
        }
        self.log.push(what);
    }
}

fn serve(mut device: &File, content: &Mutex<Content>) {
    let mut request = vec![0; 1 << 17];
    loop {
        let n = match device.read(&mut request) {
            Ok(n) => n,
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => return,
            Err(_) => continue,
        };
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
        let (opcode, unique, node) = (word(4), long(8), long(16) as usize);
        // FORGET, INTERRUPT, DESTROY and BATCH_FORGET get no answer.
        if matches!(opcode, 2 | 36 | 38 | 42) {
            continue;
        }
        let answer = answer(&mut content.lock().unwrap(), (opcode, word(32)), node, &request[40..n]);
        let (error, data) = answer.map_or_else(|e| (-e, Vec::new()), |data| (0, data));
        let mut out = ((16 + data.len()) as u32).to_ne_bytes().to_vec();
        out.extend(error.to_ne_bytes());
        out.extend(unique.to_ne_bytes());
        out.extend(data);
        let _ = device.write_all(&out);
    }
}

fn answer(
    content: &mut Content,
    (opcode, pid): (u32, u32),
    node: usize,
    body: &[u8],
) -> Result<Vec<u8>, i32> {
    let path = content.nodes.get(node).cloned().unwrap_or_default();
    let name = |bytes: &[u8]| {
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        format!("{path}/{}", String::from_utf8_lossy(&bytes[..end]))
    };
    match opcode {
        // LOOKUP
        1 => entry(content, &name(body)),
        // GETATTR, and SETATTR for O_TRUNC
        3 | 4 => Ok([vec![0; 16], attributes(content, node, &path)?].concat()),
        // MKDIR
        9 => {
            let path = name(&body[8..]);
            content.changes(pid, format!("mkdir {path}"));
            content.make(&path)?;
            entry(content, &path)
        }
        // RMDIR
        11 => {
            let path = name(body);
            content.changes(pid, format!("rmdir {path}"));
            content.remove(&path).map(|()| Vec::new())
        }
        // OPEN without the page cache, and OPENDIR
        14 | 27 => Ok([vec![0; 8], 1_u32.to_ne_bytes().to_vec(), vec![0; 4]].concat()),
        // READ
        15 => {
            let offset = u64::from_ne_bytes(body[8..16].try_into().unwrap()) as usize;
            let text = content.files.get(&path).cloned().flatten().ok_or(ENOENT)?;
            let alive =
                |line: &&str| !path.ends_with("/tasks") || Path::new(&format!("/proc/{line}")).exists();
            let text: String = text.lines().filter(alive).map(|line| format!("{line}\n")).collect();
            Ok(text.as_bytes().get(offset..).unwrap_or_default().to_vec())
        }
        // WRITE
        16 => {
            let text = String::from_utf8_lossy(&body[40..]).into_owned();
            content.changes(pid, format!("write {path} {}", text.trim_end()));
            content.write(&path, &text)?;
            Ok([(text.len() as u32).to_ne_bytes().to_vec(), vec![0; 4]].concat())
        }
        // RELEASE, RELEASEDIR
        18 | 29 => Ok(Vec::new()),
        // INIT: version 7.12, and writes of a page
        26 => {
            let words: [u32; 6] = [7, 12, 0, 0, 0, 4096];
            Ok(words.iter().flat_map(|word| word.to_ne_bytes()).collect())
        }
        _ => Err(libc::ENOSYS),
    }
}

fn entry(content: &mut Content, path: &str) -> Result<Vec<u8>, i32> {
    if !content.files.contains_key(path) {
        return Err(ENOENT);
    }
    let node = content.nodes.iter().skip(1).position(|known| known == path).map(|at| at + 1);
    let node = node.unwrap_or_else(|| {
        content.nodes.push(path.to_owned());
        content.nodes.len() - 1
    });
    let attributes = attributes(content, node, path)?;
    Ok([(node as u64).to_ne_bytes().to_vec(), vec![0; 32], attributes].concat())
}

fn attributes(content: &Content, node: usize, path: &str) -> Result<Vec<u8>, i32> {
    let file = content.files.get(path).ok_or(ENOENT)?;
    let mode: u32 = if file.is_some() { 0o100_644 } else { 0o040_755 };
    let mut out = (node as u64).to_ne_bytes().to_vec();
    out.resize(60, 0);
    out.extend(mode.to_ne_bytes());
    out.extend(1_u32.to_ne_bytes());
    out.resize(88, 0);
    Ok(out)
}
