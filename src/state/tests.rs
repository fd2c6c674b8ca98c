//! The store on a real file system: races, damage and interrupted commands.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::locked::Locked;
use super::record::tests::sample;
use super::record::{Phase, Record};
use super::store::Store;
use super::work::outside;
use crate::json::value::Json;
use crate::sys::boot::boot_id;
use crate::text::Keep;

/// A temporary directory, removed on drop.
struct Scratch(PathBuf);

fn named(path: PathBuf) -> &'static str {
    path.into_os_string().into_string().unwrap().keep()
}

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        // Prefer a tmpfs: /run is one too, and fsync(2) costs nothing there.
        let shm = std::path::Path::new("/dev/shm");
        let base = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        let dir = base.join(format!("embrun-state-{}-{n}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Scratch(dir)
    }

    fn store(&self) -> Store {
        Store::open_or_make(named(self.0.join("root"))).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("root/web").join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn now() -> Record {
    Record { boot_id: boot_id().unwrap(), ..sample() }
}

fn made(store: &Store, record: &Record) {
    let dir = store.claim("web").unwrap();
    dir.write_config(b"{}").unwrap();
    dir.write_record(record).unwrap();
    dir.publish(&|out| out.write_str("\"id\":\"web\","), record).unwrap();
}

fn text<T>(r: crate::error::Result<T>) -> String {
    r.err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn no_container_exists_before_the_first_create() {
    let scratch = Scratch::new();
    assert!(Store::open(named(scratch.0.join("root"))).unwrap().is_none());
    assert!(scratch.store().ids().unwrap().is_empty());
    assert_eq!(text(scratch.store().lock("web")), "container does not exist");
    assert_eq!(text(scratch.store().entry("web")), "container does not exist");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(scratch.0.join("root")).unwrap());
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn record_is_read_back_and_removed_with_its_directory() {
    let scratch = Scratch::new();
    let store = scratch.store();
    made(&store, &now());
    assert_eq!(store.ids().unwrap(), ["web"]);
    assert_eq!(store.entry("web").unwrap().record().unwrap(), Some(now()));
    assert_eq!(store.entry("web").unwrap().config().unwrap(), b"{}");
    assert_eq!(text(store.claim("web")), "container with given ID already exists");
    let next = Record { phase: Phase::Deleting, ..now() };
    let dir = store.lock("web").unwrap();
    dir.write_record(&next).unwrap();
    assert_eq!(dir.record().unwrap(), Some(next));
    dir.destroy().unwrap();
    assert!(store.ids().unwrap().is_empty());
    store.claim("web").unwrap().destroy().unwrap();
}

#[test]
fn damaged_record_is_replaced_by_its_copy() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let whole = now().encode().into_bytes();
    for damage in [Some(&b""[..]), Some(b" "), Some(&whole[..40]), Some(&[0; 300]), Some(b"{}"), None] {
        made(&store, &now());
        std::fs::remove_file(scratch.file("record")).unwrap();
        match damage {
            // A directory stands for any file that cannot be read.
            Some(b"") => std::fs::create_dir(scratch.file("record")).unwrap(),
            Some(bytes) => std::fs::write(scratch.file("record"), bytes).unwrap(),
            None => {}
        }
        assert_eq!(store.entry("web").unwrap().record().unwrap(), Some(now()));
        std::fs::write(scratch.file("state.json"), "{\"id\":").unwrap();
        let error = text(store.entry("web").unwrap().record());
        assert!(error.starts_with("record, state.json and config.json: "), "{error}");
        assert_eq!(text(store.claim("web")), "container with given ID already exists");
        store.lock("web").unwrap().destroy().unwrap();
    }
}

#[test]
fn record_of_another_container_is_refused() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let dir = store.claim("web").unwrap();
    dir.write_record(&Record { id: "db", ..now() }).unwrap();
    assert!(text(dir.record()).contains("the record is that of \"db\""));
}

#[test]
fn directory_left_empty_by_an_interrupted_command_is_taken_over() {
    let scratch = Scratch::new();
    let store = scratch.store();
    std::fs::create_dir(scratch.0.join("root/web")).unwrap();
    assert_eq!(store.lock("web").unwrap().record().unwrap(), None);
    drop(store.claim("web").unwrap());
    std::fs::write(scratch.file(".record.tmp"), "half").unwrap();
    assert_eq!(store.lock("web").unwrap().record().unwrap(), None);
    made(&store, &now());
}

#[test]
fn container_of_an_earlier_boot_is_replaced_and_one_of_this_boot_is_not() {
    let scratch = Scratch::new();
    let store = scratch.store();
    made(&store, &sample());
    std::fs::create_dir(scratch.file("notify")).unwrap();
    std::fs::write(scratch.file("notify/notify.sock"), "").unwrap();
    let dir = store.claim("web").unwrap();
    assert_eq!(dir.record().unwrap(), None);
    dir.write_record(&now()).unwrap();
    drop(dir);
    assert_eq!(text(store.claim("web")), "container with given ID already exists");
}

#[test]
fn symbolic_links_and_hostile_ids_are_refused() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let secret = scratch.0.join("secret");
    std::fs::write(&secret, now().encode()).unwrap();
    drop(store.claim("web").unwrap());
    std::os::unix::fs::symlink(&secret, scratch.file("record")).unwrap();
    assert!(store.entry("web").unwrap().record().is_err());
    std::os::unix::fs::symlink(&secret, scratch.file(".record.tmp")).unwrap();
    assert!(store.lock("web").unwrap().write_record(&sample()).is_err());
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), now().encode());
    std::os::unix::fs::symlink(&scratch.0, scratch.0.join("root/link")).unwrap();
    assert!(store.entry("link").is_err());
    for id in ["", ".", "..", "a/b", "../root/web"] {
        assert!(store.entry(id).is_err() && store.claim(id).is_err() && store.lock(id).is_err(), "{id}");
    }
}

#[test]
fn root_that_others_can_write_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    drop(scratch.store());
    let root = scratch.0.join("root");
    for mode in [0o1777, 0o702, 0o770] {
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(text(Store::open_or_make(named(root.clone()))).contains("is writable by others"));
    }
    assert!(text(Store::open("/usr/..")).contains("must not be the root directory"));
    std::fs::write(scratch.0.join("file"), "").unwrap();
    assert!(text(Store::open(named(scratch.0.join("file")))).ends_with("not a directory (ENOTDIR)"));
}

#[test]
fn readers_see_a_whole_record_while_it_is_replaced() {
    let scratch = Scratch::new();
    let store = scratch.store();
    made(&store, &now());
    std::thread::scope(|s| {
        s.spawn(|| {
            let dir = store.lock("web").unwrap();
            for n in 0..300 {
                dir.write_record(&Record { poststop_done: n, ..now() }).unwrap();
            }
        });
        let mut last = 0;
        while last < 299 {
            let record = store.entry("web").unwrap().record().unwrap().unwrap();
            assert!(record.poststop_done >= last || last == 2, "{} after {last}", record.poststop_done);
            last = record.poststop_done;
            if last == now().poststop_done {
                last = 0;
            }
        }
    });
}

#[test]
fn concurrent_creates_of_one_id_have_one_winner() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let create = || -> crate::error::Result<()> {
        let dir = store.claim("web")?;
        // Losers may arrive before, while and after the winner works.
        std::thread::sleep(std::time::Duration::from_millis(2));
        dir.write_record(&now())
    };
    for _ in 0..30 {
        let winners = std::thread::scope(|s| {
            let racers: Vec<_> = (0..8).map(|_| s.spawn(create)).collect();
            racers.into_iter().filter_map(|r| r.join().unwrap().ok()).count()
        });
        assert_eq!(winners, 1);
        store.lock("web").unwrap().destroy().unwrap();
    }
}

#[test]
fn concurrent_creates_and_deletes_of_one_id_exclude_each_other() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let (inside, rounds) = (AtomicU32::new(0), AtomicU32::new(0));
    let alone = |dir: Locked| {
        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two commands hold one container");
        std::thread::yield_now();
        inside.fetch_sub(1, Ordering::SeqCst);
        dir
    };
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                while rounds.load(Ordering::Relaxed) < 60 {
                    if let Ok(dir) = store.claim("web") {
                        let dir = alone(dir);
                        dir.write_record(&now()).unwrap();
                        rounds.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            s.spawn(|| {
                while rounds.load(Ordering::Relaxed) < 60 {
                    // A delete that spins without pause would take every new directory at once.
                    std::thread::sleep(std::time::Duration::from_micros(500));
                    match store.lock("web") {
                        Ok(dir) => alone(dir).destroy().unwrap(),
                        Err(e) => assert_eq!(e.to_string(), "container does not exist"),
                    }
                }
            });
        }
    });
}

#[test]
fn held_lock_is_reported_with_its_holder() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let dir = store.claim("web").unwrap();
    dir.write_record(&now()).unwrap();
    let error = text(store.try_lock("web"));
    assert!(error.starts_with("container web is in use by another command (process "), "{error}");
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    assert_eq!(dir.record().unwrap(), Some(now()));
    drop(dir);
    assert!(store.try_lock("web").is_ok());
}

#[test]
fn public_state_has_its_keys_and_can_be_removed() {
    let scratch = Scratch::new();
    let store = scratch.store();
    made(&store, &now());
    let json = Json::parse(&std::fs::read(scratch.file("state.json")).unwrap()).unwrap();
    assert_eq!(json.get("id"), Some(&Json::str("web")));
    store.lock("web").unwrap().unpublish().unwrap();
    assert!(!scratch.file("state.json").exists());
}

/// Waits with `wait`; returns what is left of the lock, and the error.
fn waited(store: &Store, wait: impl FnOnce()) -> (Option<Locked>, String) {
    let mut slot = Some(store.lock("web").unwrap());
    let came = outside(&mut slot, None, || {
        wait();
        Ok(())
    });
    (slot, text(came))
}

#[test]
fn other_commands_use_the_container_while_one_waits() {
    let scratch = Scratch::new();
    let store = scratch.store();
    made(&store, &now());
    let (slot, error) = waited(&store, || {
        let other = store.try_lock("web").unwrap();
        assert_eq!(other.work().unwrap().worker.pid, std::process::id() as i32);
        other.write_record(&Record { poststop_done: 9, ..now() }).unwrap();
    });
    assert_eq!(error, "");
    assert!(store.try_lock("web").is_err(), "the lock is back");
    assert_eq!(slot.as_ref().unwrap().work(), None);
    assert_eq!(slot.unwrap().record().unwrap().unwrap().poststop_done, 9);
}

#[test]
fn waiting_command_touches_nothing_once_the_container_was_taken_over() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let other = || Record { created: "2025-01-01T00:00:00Z", ..now() };
    let remake = || {
        let dir = store.claim("web").unwrap();
        dir.write_record(&other()).unwrap();
        dir.clear_work().unwrap();
    };
    let ways: [(&str, &dyn Fn()); 4] = [
        ("taken over", &|| store.lock("web").unwrap().clear_work().unwrap()),
        ("deleted", &|| store.lock("web").unwrap().destroy().unwrap()),
        ("deleted and made again", &|| {
            store.lock("web").unwrap().destroy().unwrap();
            remake();
        }),
        // A delete that was killed before its last step leaves the directory to the next create.
        ("made again in the same directory", &|| {
            let dir = store.lock("web").unwrap();
            for name in ["config.json", "state.json", "work", "record"] {
                std::fs::remove_file(scratch.file(name)).unwrap();
            }
            drop(dir);
            remake();
        }),
    ];
    for (way, act) in ways {
        made(&store, &now());
        let (slot, error) = waited(&store, act);
        assert!(slot.is_none(), "{way}");
        assert_eq!(error, "the container was deleted by another command", "{way}");
        if way.contains("again") {
            assert_eq!(store.entry("web").unwrap().record().unwrap(), Some(other()), "{way}");
        }
        let _ = store.lock("web").map(|dir| dir.destroy().unwrap());
    }
}

#[test]
fn lock_is_kept_if_the_work_cannot_be_noted() {
    let scratch = Scratch::new();
    let store = scratch.store();
    made(&store, &now());
    std::fs::create_dir(scratch.file("work")).unwrap();
    let (slot, error) = waited(&store, || assert!(store.try_lock("web").is_err()));
    assert_eq!((slot.is_some(), error.as_str()), (true, ""));
}
