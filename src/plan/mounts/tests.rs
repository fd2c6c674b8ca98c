use super::*;
use crate::bundle::config::spec;
use crate::json::value::Json;
use crate::plan::cgroup_view::{CgroupSource, V1Hierarchy};

fn facts() -> MountFacts {
    MountFacts {
        bundle: "/b",
        rootfs: "/b/rootfs",
        own_network: true,
        own_pids: true,
        cgroup: CgroupView::default(),
        selinux: true,
        notify: None,
    }
}

fn parsed(mounts: &str, linux: &str) -> Box<Spec> {
    let text = format!(
        r#"{{"ociVersion":"1.0.2","root":{{"path":"x"}},"mounts":[{mounts}],
            "linux":{{"namespaces":[{{"type":"mount"}}]{linux}}}}}"#
    );
    spec(&Json::parse(text.as_bytes()).unwrap()).unwrap()
}

fn compiled(mounts: &str, linux: &str, facts: &MountFacts) -> Result<List<MountStep>, Vec<String>> {
    compile(&parsed(mounts, linux), facts).map_err(|all| all.iter().map(|r| r.to_string()).collect())
}

/// One mount by destination, type, source and options, in short.
fn entry(destination: &str, kind: &str, source: &str, options: &str) -> String {
    let options: Vec<String> = options.split_whitespace().map(|o| format!("{o:?}")).collect();
    let options = options.join(",");
    format!(r#"{{"destination":{destination:?},"type":{kind:?},"source":{source:?},"options":[{options}]}}"#)
}

fn plan(mounts: &str) -> Vec<String> {
    compiled(mounts, "", &facts()).unwrap().iter().map(|s| s.to_string()).collect()
}

#[test]
fn steps_say_what_they_do() {
    for (mount, says) in [
        (entry("/proc", "proc", "proc", "nosuid noexec nodev"), "mount proc at /proc (nodev,noexec,nosuid)"),
        (entry("proc", "proc", "proc", ""), "mount proc at /proc"),
        (
            entry("/dev", "tmpfs", "tmpfs", "nosuid strictatime mode=755 size=65536k"),
            "mount tmpfs at /dev (nosuid,strictatime,mode=755,size=65536k)",
        ),
        (entry("/run", "tmpfs", "tmpfs", "ro"), "mount tmpfs at /run (ro at last,mode of the directory)"),
        (entry("/run", "tmpfs", "", "tmpcopyup mode=1777"), "mount tmpfs at /run (tmpcopyup,mode=1777)"),
        (entry("/sys", "sysfs", "sysfs", "ro"), "mount sysfs at /sys (ro)"),
        (entry("/x", "none", "/src", "rbind ro rprivate"), "bind /src at /x (rbind,only ro,rprivate)"),
        (entry("/x", "tmpfs", "a/b", "bind"), "bind /b/a/b at /x"),
        (entry("/x", "", "a", "rbind defaults rprivate"), "bind /b/a at /x (rbind,rprivate)"),
        (entry("/x", "", "a", "rbind sync rprivate"), "bind /b/a at /x (rbind,no flags,rprivate)"),
        (entry("/x", "", "", "remount nosuid size=4k"), "remount /x (nosuid,size=4k)"),
        (entry("/", "", "", "remount bind ro"), "change the mount at / (ro)"),
        (
            entry("/a/../b/./c", "ext4", "/dev/sda1", "rw,x".trim_start_matches("rw,")),
            "mount ext4 at /b/c (x)",
        ),
        (
            entry("/x", "tmpfs", "x", "nosymfollow rslave"),
            "mount tmpfs at /x (mode of the directory,nosymfollow,rslave)",
        ),
        (entry("/proc/uptime", "none", "/lxcfs/uptime", "bind"), "bind /lxcfs/uptime at /proc/uptime"),
        (entry("/proc", "none", "/proc", "rbind"), "bind /proc at /proc (rbind)"),
        (entry("/", "none", "/y", "rbind ro rshared"), "bind /y at / (rbind,only ro)"),
        (entry("/a/..", "none", "y", "bind"), "bind /b/y at /"),
        (entry("/procfs", "tmpfs", "x", "mode=1"), "mount tmpfs at /procfs (mode=1)"),
    ] {
        assert_eq!(plan(&mount), [says], "{mount}");
    }
}

#[test]
fn refusals_name_the_entry_and_the_property() {
    let long = format!("x={}", "y".repeat(5000));
    for (mount, says) in [
        (entry("/proc", "tmpfs", "x", ""), "mounts[0].destination: is inside /proc"),
        (entry("/proc/self/attr", "tmpfs", "x", ""), "mounts[0].destination: is inside /proc"),
        (entry("/x/../proc/sys/kernel", "none", "/y", "bind"), "mounts[0].destination: is inside /proc"),
        (entry("/proc/uptime/x", "none", "/y", "bind"), "mounts[0].destination: is inside /proc"),
        (entry("/proc/x/proc/uptime", "none", "/y", "bind"), "mounts[0].destination: is inside /proc"),
        (entry("/", "tmpfs", "x", ""), "mounts[0].destination: is the container's root"),
        (entry("/..", "overlay", "x", "lowerdir=/a:/b"), "mounts[0].destination: is the container's root"),
        (entry("/x", "", "x", ""), "mounts[0].type: is required"),
        (entry("/x", "bind", "/x", "ro"), "mounts[0].options: a bind mount needs the option"),
        (entry("/x", "none", "", "bind"), "mounts[0].source: is required"),
        (
            entry("/x", "none", "/y", "bind noexce"),
            "mounts[0].options: \"noexce\" is no option of a bind mount",
        ),
        (entry("/x", "none", "/y", "bind tmpcopyup"), "mounts[0].options: tmpcopyup is for"),
        (entry("/x", "ext4", "/y", "tmpcopyup"), "mounts[0].options: tmpcopyup is for"),
        (entry("/x", "none", "/y", "bind idmap"), "mounts[0].options: idmap and ridmap need uidMappings"),
        (entry("/x", "tmpfs", "/y", "ridmap"), "mounts[0].options: idmap and ridmap need uidMappings"),
        (entry("/x", "tmpfs", "/y", &long), "mounts[0].options: are 5002 bytes for the file system"),
        (entry("/x", "cgroup", "cgroup", "ro"), "mounts[0].type: the host has no cgroups mounted"),
    ] {
        let refused = compiled(&mount, "", &facts()).unwrap_err();
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].starts_with(says), "{}", refused[0]);
    }
    let two =
        [entry("/", "tmpfs", "x", ""), entry("/ok", "tmpfs", "x", ""), entry("/x", "", "", "")].join(",");
    assert_eq!(compiled(&two, "", &facts()).unwrap_err().len(), 2);
}

#[test]
fn options_of_a_file_system_have_no_effect_on_a_bind_mount() {
    let mount = entry("/x", "none", "/y", "bind mode=755,size=1k ro");
    assert_eq!(plan(&mount), ["bind /y at /x (only ro)"]);
    let warned = warnings(&parsed(&mount, ""), &facts());
    let says = |option| format!("mounts[0].options: {option} has no effect on a bind mount");
    assert_eq!(warned, [says("mode=755"), says("size=1k")]);
    assert!(warnings(&parsed(&entry("/x", "tmpfs", "/y", "size=1k"), ""), &facts()).is_empty());
    let refused = compiled(&entry("/x", "none", "/y", "bind size=1k,noexce"), "", &facts()).unwrap_err();
    assert_eq!(refused, ["mounts[0].options: \"noexce\" is no option of a bind mount; remove it"]);
    // mount(8) and crun know these, so the mount would be less protected than its author believes.
    for option in ["ro=recursive", "nosuid=vfs", "idmap=uids=0-100000-10"] {
        for bind in ["bind", "bind remount"] {
            let refused = compiled(&entry("/x", "none", "/y", &format!("{bind} {option}")), "", &facts());
            let says = format!("mounts[0].options: \"{option}\" is no option of a bind mount; remove it");
            assert_eq!(refused.unwrap_err(), [says]);
        }
    }
}

#[test]
fn words_that_engines_keep_for_themselves_are_ignored_with_a_warning() {
    for (kind, source, options, says) in [
        ("none", "/y", "rbind z rw", "bind /y at /x (rbind,only rw)"),
        ("none", "/y", "U bind Z", "bind /y at /x"),
        ("none", "/y", "bind O copy nocopy", "bind /y at /x"),
        ("tmpfs", "t", "mode=1 z U size=4k", "mount tmpfs at /x (mode=1,size=4k)"),
        ("none", "/y", "remount bind ro consistent cached delegated", "change the mount at /x (ro)"),
    ] {
        let mount = entry("/x", kind, source, options);
        assert_eq!(plan(&mount), [says], "{options}");
        let warned =
            warnings(&parsed(&[&entry("/a", "none", "/b", "bind"), ",", &mount].concat(), ""), &facts());
        let words: Vec<&str> = warned.iter().map(|w| w.split(' ').nth(1).unwrap()).collect();
        let wanted = options.split(' ').filter(|o| is_engines(o)).collect::<Vec<_>>();
        assert!(words == wanted && !words.is_empty(), "{warned:?}");
        assert!(warned.iter().all(|w| w.starts_with("mounts[1].options: ")), "{warned:?}");
    }
    // A word that nobody has is no option, and it may be "ro" misspelt.
    let refused = compiled(&entry("/x", "none", "/y", "bind z Ro"), "", &facts()).unwrap_err();
    assert_eq!(refused, ["mounts[0].options: \"Ro\" is no option of a bind mount; remove it"]);
}

#[test]
fn labels_go_to_the_file_systems_that_take_them() {
    let linux = r#","mountLabel":"system_u:object_r:x_t:s0:c1,c2""#;
    let label = "context=\"system_u:object_r:x_t:s0:c1,c2\"";
    for (mount, data) in [
        (entry("/x", "tmpfs", "x", "mode=1"), Some(format!("mode=1,{label}"))),
        (entry("/x", "devpts", "x", ""), Some(label.to_owned())),
        (entry("/proc", "proc", "x", ""), None),
        (entry("/sys", "sysfs", "x", ""), None),
        (entry("/x", "mqueue", "x", ""), None),
        (entry("/x", "securityfs", "x", ""), None),
        (entry("/x", "overlay", "x", "lowerdir=/a"), Some(format!("lowerdir=/a,{label}"))),
    ] {
        let MountObject::New(new) = &compiled(&mount, linux, &facts()).unwrap()[0].what else {
            panic!("{mount}")
        };
        assert_eq!(new.data.as_ref().map(|d| d.to_str().unwrap()), data.as_deref(), "{mount}");
        assert_eq!(new.root_label.is_some(), mount.contains("mqueue"), "{mount}");
        // Without SELinux it would be an option that no file system knows.
        let without = MountFacts { selinux: false, ..facts() };
        let MountObject::New(new) = &compiled(&mount, linux, &without).unwrap()[0].what else {
            panic!("{mount}")
        };
        let data = new.data.map(|d| d.to_str().unwrap());
        assert!(data.is_none_or(|d| !d.contains("context")) && new.root_label.is_none(), "{data:?}");
        let spec = parsed(&mount, linux);
        assert_eq!(warnings(&spec, &facts()), [""; 0]);
        assert_eq!(
            warnings(&spec, &without),
            ["linux.mountLabel: SELinux is not enabled on this host, it is ignored"]
        );
    }
}

#[test]
fn a_label_that_would_end_its_option_is_refused() {
    for label in [r#"a\",size=1\"b"#, r"a\nb"] {
        let linux = format!(r#","mountLabel":"{label}""#);
        let refused = compiled(&entry("/x", "tmpfs", "x", ""), &linux, &facts()).unwrap_err();
        assert_eq!(refused, ["linux.mountLabel: contains a quotation mark or a control character"]);
    }
    let linux = r#","mountLabel":"a:b:c:s0""#;
    let v1 = vec![V1Hierarchy { directory: "pids".into(), ..V1Hierarchy::default() }];
    let facts = MountFacts { cgroup: CgroupView { v1, ..CgroupView::default() }, ..facts() };
    let steps = compiled(&entry("/sys/fs/cgroup", "cgroup", "cgroup", ""), linux, &facts).unwrap();
    assert!(steps[0].to_string().contains("mode=755,context=\"a:b:c:s0\""), "{}", steps[0]);
}

#[test]
fn the_host_may_stand_in_where_its_namespace_is_shared() {
    let sys = entry("/sys", "sysfs", "sysfs", "ro nosuid");
    let instead = |mount: &str, facts: &MountFacts| {
        let MountObject::New(new) = compiled(mount, "", facts).unwrap()[0].what else { panic!("{mount}") };
        new.instead.map(|r| (r.source.to_str().unwrap().to_owned(), r.changes[0].to_string()))
    };
    assert_eq!(instead(&sys, &facts()), None);
    let shared = MountFacts { own_network: false, ..facts() };
    assert_eq!(instead(&sys, &shared), Some(("/sys".into(), "ro,nosuid".into())));
    let proc = entry("/proc", "proc", "proc", "nosuid");
    assert_eq!(instead(&proc, &facts()), None);
    let shared = MountFacts { own_pids: false, ..facts() };
    assert_eq!(instead(&proc, &shared), Some(("/proc".into(), "nosuid".into())));
    let cgroup = entry("/sys/fs/cgroup", "cgroup", "cgroup", "ro");
    let v2 = CgroupView { v2: Some(source("/sys/fs/cgroup/a")), ..CgroupView::default() };
    let v2 = MountFacts { cgroup: v2, ..facts() };
    assert_eq!(instead(&cgroup, &v2), Some(("/sys/fs/cgroup/a".into(), "ro".into())));
}

fn source(own: &str) -> CgroupSource {
    CgroupSource { own: own.into(), otherwise: None }
}

#[test]
fn v1_has_a_directory_for_each_hierarchy() {
    let hierarchy = |directory: &str, controllers: &[&str]| V1Hierarchy {
        directory: directory.into(),
        controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
        source: source(&format!("/sys/fs/cgroup/{directory}/me")),
    };
    let v1 = vec![
        hierarchy("memory", &["memory"]),
        hierarchy("cpu,cpuacct", &["cpu", "cpuacct"]),
        hierarchy("systemd", &["name=systemd"]),
    ];
    for own_namespace in [true, false] {
        let cgroup = CgroupView { v1: v1.clone(), v2: Some(source("/u")), own_namespace };
        let facts = MountFacts { cgroup, ..facts() };
        let steps = compiled(&entry("/sys/fs/cgroup", "cgroup", "cgroup", "ro rslave"), "", &facts).unwrap();
        let note = if own_namespace { "" } else { ",own directories bound" };
        let says =
            format!("mount 3 cgroup hierarchies at /sys/fs/cgroup (nodev,noexec,nosuid,ro{note},rslave)");
        assert_eq!(steps[0].to_string(), says);
        let MountObject::CgroupV1 { entries, links, .. } = &steps[0].what else { panic!() };
        let data = entries.iter().map(|e| e.data.as_ref().map(|d| d.to_str().unwrap())).collect::<Vec<_>>();
        let wanted = [Some("memory"), Some("cpu,cpuacct"), Some("name=systemd")];
        assert_eq!(data, if own_namespace { wanted } else { [None; 3] });
        let names = links.iter().map(|(n, d)| (n.to_str().unwrap(), d.to_str().unwrap())).collect::<Vec<_>>();
        assert_eq!(names, [("cpu", "cpu,cpuacct"), ("cpuacct", "cpu,cpuacct")]);
    }
}

#[test]
fn a_resolved_path_in_proc_is_checked_by_its_end() {
    for (path, may) in [
        ("/run/b/rootfs/proc/uptime", true),
        ("proc/uptime", true),
        ("/r/proc/sys/kernel/ns_last_pid", true),
        ("/r/notproc/uptime", false),
        ("/r/proc/self/attr", false),
        ("/r/proc", false),
        ("/r/proc/uptime/", false),
    ] {
        assert_eq!(may_cover_proc(path.as_bytes()), may, "{path}");
    }
}

#[test]
fn a_remount_has_the_last_word_on_what_waits() {
    for (first, second, says) in [
        ("ro", "remount rw", ["mount tmpfs at /x (mode of the directory)", "remount /x"]),
        ("ro", "remount nosuid", ["mount tmpfs at /x (mode of the directory)", "remount /x (nosuid)"]),
        ("", "remount ro", ["mount tmpfs at /x (ro at last,mode of the directory)", "remount /x"]),
        (
            "",
            "remount bind ro nosuid",
            ["mount tmpfs at /x (ro at last,mode of the directory)", "change the mount at /x (nosuid)"],
        ),
        (
            "ro",
            "remount bind nosuid",
            ["mount tmpfs at /x (ro at last,mode of the directory)", "change the mount at /x (nosuid)"],
        ),
    ] {
        let both = [entry("/x", "tmpfs", "x", first), entry("/x", "", "", second)].join(",");
        assert_eq!(plan(&both), says, "{first}; {second}");
    }
    // A mount that the runtime does not fill is read-only at once.
    let bind = [entry("/x", "none", "/y", "bind"), entry("/x", "", "", "remount bind ro")].join(",");
    assert_eq!(plan(&bind), ["bind /y at /x", "change the mount at /x (ro)"]);
}

/// A bind mount with maps of one id each.
fn mapped(options: &str, uid: u32, gid: u32) -> String {
    let map = |id: u32| format!(r#"[{{"containerID":0,"hostID":{id},"size":1}}]"#);
    let start = entry("/x", "none", "/y", options);
    let (uids, gids) = (map(uid), map(gid));
    format!(r#"{},"uidMappings":{uids},"gidMappings":{gids}}}"#, start.trim_end_matches('}'))
}

#[test]
fn idmapped_mounts_have_the_maps_of_a_user_namespace() {
    let maps = |id: u32| {
        let map = format!(r#"[{{"containerID":0,"hostID":{id},"size":1}}]"#);
        format!(r#","uidMappings":{map},"gidMappings":{map}"#)
    };
    let all = [
        mapped("bind idmap", 1, 2),
        mapped("rbind ridmap", 1, 1),
        mapped("bind", 1, 2),
        entry("/x", "tmpfs", "t", "idmap mode=1"),
    ]
    .join(",");
    for (user, linux, last) in [
        (r#"{"type":"user"}"#, maps(7), "the container's"),
        (r#"{"type":"user","path":"/u"}"#, String::new(), "namespace 1"),
        (r#"{"type":"user","path":"/u"}"#, maps(7), "namespace 1"),
    ] {
        let linux = format!(r#"{linux},"namespaces":[{{"type":"ipc","path":"/i"}},{user}]"#);
        let text = format!(
            r#"{{"ociVersion":"1.0.2","root":{{"path":"x"}},"mounts":[{all}],"linux":{{{}}}}}"#,
            linux.trim_start_matches(',')
        );
        let spec = spec(&Json::parse(text.as_bytes()).unwrap()).unwrap();
        let first = if user.contains("path") { 2 } else { 1 };
        let steps = compile(&spec, &facts()).unwrap();
        let notes: Vec<String> = steps.iter().map(|s| s.idmap.unwrap().to_string()).collect();
        let next = first + 1;
        assert_eq!(
            notes,
            [
                format!("idmap by namespace {first}"),
                format!("ridmap by namespace {next}"),
                format!("idmap by namespace {first}"),
                format!("idmap by {last}"),
            ]
        );
        let made: Vec<usize> = idmap::of_their_own(&spec).iter().map(|maps| maps.index).collect();
        assert_eq!(made, [0, 1]);
    }
    // The maps of the container are not made twice.
    let linux = maps(1);
    let text = format!(
        r#"{{"ociVersion":"1.0.2","root":{{"path":"x"}},"mounts":[{}],
            "linux":{{"namespaces":[{{"type":"user"}}]{linux}}}}}"#,
        mapped("bind", 1, 1)
    );
    let spec = spec(&Json::parse(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(idmap::of_their_own(&spec), []);
    assert_eq!(compile(&spec, &facts()).unwrap()[0].idmap.unwrap().to_string(), "idmap by the container's");
}

#[test]
fn only_new_mounts_are_idmapped() {
    let refused = |mount: &str| compiled(mount, "", &facts()).unwrap_err();
    assert_eq!(
        refused(&mapped("remount bind", 1, 1)),
        ["mounts[0].uidMappings: a remount cannot change the map of a mount"]
    );
}
