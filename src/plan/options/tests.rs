use super::*;

fn parse(options: &str) -> Options {
    Options::parse(&options.split_whitespace().collect::<Vec<_>>())
}

#[test]
fn flags_of_which_the_last_counts() {
    for (options, set, clear) in [
        ("", 0, 0),
        ("defaults", 0, 0),
        ("ro", ms::RDONLY, 0),
        ("ro rw", 0, ms::RDONLY),
        ("rw ro", ms::RDONLY, 0),
        ("ro ro", ms::RDONLY, 0),
        ("nosuid nodev noexec suid", ms::NODEV | ms::NOEXEC, ms::NOSUID),
        ("rbind", ms::BIND | ms::REC, 0),
        ("bind ro", ms::BIND | ms::RDONLY, 0),
        ("sync dirsync async", ms::DIRSYNC, ms::SYNCHRONOUS),
        ("noatime atime", 0, ms::NOATIME),
        ("strictatime nostrictatime relatime", ms::RELATIME, ms::STRICTATIME),
        ("mand silent iversion lazytime acl", 0x281_8040, 0),
        ("nomand loud noiversion nolazytime noacl", 0, 0x281_8040),
        ("nosymfollow", ms::NOSYMFOLLOW, 0),
        ("nosymfollow symfollow", 0, ms::NOSYMFOLLOW),
        ("nodiratime diratime dev exec", 0, ms::NODIRATIME | ms::NODEV | ms::NOEXEC),
        ("norelatime", 0, ms::RELATIME),
    ] {
        let parsed = parse(options);
        assert_eq!((parsed.set, parsed.clear), (set, clear), "{options}");
        assert_eq!(parsed.data, "", "{options}");
    }
}

#[test]
fn flags_have_the_kernels_numbers() {
    use libc::*;
    for (ours, theirs) in [
        (ms::RDONLY, MS_RDONLY),
        (ms::NOSUID, MS_NOSUID),
        (ms::NODEV, MS_NODEV),
        (ms::NOEXEC, MS_NOEXEC),
        (ms::SYNCHRONOUS, MS_SYNCHRONOUS),
        (ms::REMOUNT, MS_REMOUNT),
        (ms::MANDLOCK, MS_MANDLOCK),
        (ms::DIRSYNC, MS_DIRSYNC),
        (ms::NOATIME, MS_NOATIME),
        (ms::NODIRATIME, MS_NODIRATIME),
        (ms::BIND, MS_BIND),
        (ms::MOVE, MS_MOVE),
        (ms::REC, MS_REC),
        (ms::SILENT, MS_SILENT),
        (ms::POSIXACL, MS_POSIXACL),
        (ms::UNBINDABLE, MS_UNBINDABLE),
        (ms::PRIVATE, MS_PRIVATE),
        (ms::SLAVE, MS_SLAVE),
        (ms::SHARED, MS_SHARED),
        (ms::RELATIME, MS_RELATIME),
        (ms::I_VERSION, MS_I_VERSION),
        (ms::STRICTATIME, MS_STRICTATIME),
    ] {
        assert_eq!(c_ulong::from(ours), theirs);
    }
}

#[test]
fn what_is_no_option_is_for_the_file_system() {
    let parsed = parse("nosuid mode=755 size=64k ro gid=5");
    assert_eq!(parsed.data, "mode=755,size=64k,gid=5");
    assert_eq!(parsed.set, ms::NOSUID | ms::RDONLY);
    assert_eq!(parse("RO").data, "RO");
    assert_eq!(parse("z Z mode=755 U O copy ro nocopy cached x=z delegated consistent").data, "mode=755,x=z");
    assert!(parse("tmpcopyup").copy_up && parse("ridmap").idmap && parse("idmap").idmap);
}

#[test]
fn changes_of_a_mount() {
    for (options, changes) in [
        ("rbind", ""),
        ("rbind rw", "rw"),
        ("bind ro nosuid", "ro,nosuid"),
        ("rbind rprivate ro", "ro; rprivate"),
        ("bind private ro", "ro,private"),
        ("bind shared slave", "shared; slave"),
        ("rbind rro rslave", "rro,rslave"),
        ("rbind rro rw", "rw; rro"),
        ("rbind rro rrw", "rrw"),
        ("rbind rrw rro rnosuid", "rro,rnosuid"),
        ("bind noatime", "noatime"),
        ("bind atime", ""),
        ("bind nostrictatime norelatime diratime", ""),
        ("bind noatime atime", ""),
        ("bind noatime diratime", "diratime,noatime"),
        ("bind nodiratime", "nodiratime,relatime"),
        ("bind nodiratime noatime relatime", "nodiratime,noatime"),
        ("bind noatime relatime strictatime", "strictatime"),
        ("bind noatime strictatime", "strictatime"),
        ("bind relatime", "relatime"),
        ("rbind rnoatime", "rnoatime"),
        ("rbind rnoatime ratime", "rrelatime"),
        ("rbind rnoatime rstrictatime", "rstrictatime"),
        ("rbind rstrictatime rnostrictatime", "rrelatime"),
        ("rbind rnorelatime", ""),
        ("rbind rnodiratime rnosymfollow rnodev rnoexec", "rnodev,rnoexec,rnodiratime,rnosymfollow"),
        ("rbind rdiratime rsymfollow rdev rexec rsuid", "rsuid,rdev,rexec,rdiratime,rsymfollow"),
        // The file system's own flags are none of a bind mount's.
        ("bind sync mand", ""),
    ] {
        let says: Vec<String> = parse(options).changes().iter().map(|c| c.to_string()).collect();
        assert_eq!(says.join("; "), changes, "{options}");
    }
    // The kernel takes the field of the access time as a whole or not at all.
    for options in ["bind noatime", "bind nodiratime", "rbind ratime", "rbind rnoatime", "rbind rrelatime"] {
        assert_eq!(parse(options).changes()[0].clear & attr::ATIME, attr::ATIME, "{options}");
    }
}

#[test]
fn every_option_of_the_specification_is_known() {
    // config.md, "Linux mount options": MUST, SHOULD and MAY.
    let all = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime
        noexec noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared
        rslave runbindable rw shared silent slave strictatime suid sync unbindable nosymfollow symfollow rro rrw rnosuid
        rsuid rnodev rdev rnoexec rexec rnoatime ratime rnodiratime rdiratime rrelatime rnorelatime rstrictatime
        rnostrictatime rnosymfollow rsymfollow idmap ridmap mand nomand tmpcopyup";
    for option in all.split_whitespace() {
        assert!(names().any(|name| name == option), "{option}");
    }
    assert!(names().is_sorted());
}
