use super::*;
use crate::error::Error;
use crate::json::value::Json;

fn read(text: &str) -> Result<Resources, String> {
    resources(&Json::parse(text.as_bytes()).unwrap()).map_err(|f| Error::from(f).to_string())
}

/// Resources with every field.
const ALL: &str = r#"{"devices":[{"allow":false},{"allow":true,"type":"c","major":1,"minor":-1,"access":"rm"}],
        "memory":{"limit":1048576,"reservation":-1,"swap":2097152,"kernel":5,"swappiness":0,"disableOOMKiller":false,
            "useHierarchy":true,"checkBeforeUpdate":true},
        "cpu":{"shares":1024,"quota":50000,"burst":1000,"period":100000,"realtimeRuntime":10,"realtimePeriod":20,
            "cpus":"0-1","mems":"0","idle":1},
        "pids":{"limit":0},
        "blockIO":{"weight":10,"leafWeight":1000,"weightDevice":[{"major":8,"minor":0,"weight":500,"leafWeight":300}],
            "throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}],"throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":0}]},
        "hugepageLimits":[{"pageSize":"2MB","limit":9223372036854772000},{"pageSize":"64KB","limit":1}],
        "network":{"classID":1048577,"priorities":[{"name":"eth0","priority":500}]},
        "rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000}},
        "unified":{"memory.high":"1000"}}"#;

/// The settings of `ALL`.
const SETTINGS: [(ResourceField, &str, i64); 29] = [
    (ResourceField::Cpus, "0-1", 0),
    (ResourceField::Mems, "0", 0),
    (ResourceField::Shares, "", 1024),
    (ResourceField::Idle, "", 1),
    (ResourceField::Period, "", 100_000),
    (ResourceField::Quota, "", 50_000),
    (ResourceField::Burst, "", 1000),
    (ResourceField::RealtimePeriod, "", 20),
    (ResourceField::RealtimeRuntime, "", 10),
    (ResourceField::Pids, "", 0),
    (ResourceField::Weight, "", 10),
    (ResourceField::LeafWeight, "", 1000),
    (ResourceField::ClassId, "", 1_048_577),
    (ResourceField::UseHierarchy, "", 1),
    (ResourceField::Reservation, "", -1),
    (ResourceField::Swappiness, "", 0),
    (ResourceField::DisableOomKiller, "", 0),
    (ResourceField::Limit, "", 1 << 20),
    (ResourceField::Swap, "", 2 << 20),
    (ResourceField::CheckBeforeUpdate, "", 1),
    (ResourceField::Kernel, "", 5),
    (ResourceField::DeviceWeight, "8:0", 500),
    (ResourceField::DeviceLeafWeight, "8:0", 300),
    (ResourceField::ReadBps, "8:0", 600),
    (ResourceField::WriteIops, "8:16", 0),
    (ResourceField::Hugepages, "2MB", 9223372036854772000),
    (ResourceField::Hugepages, "64KB", 1),
    (ResourceField::Priority, "eth0", 500),
    (ResourceField::Rdma, "mlx5_1 hca_handle=3 hca_object=10000", 0),
];

#[test]
fn every_field_is_read() {
    let r = read(ALL).unwrap();
    assert_eq!(
        r.devices,
        [
            DeviceRule { allow: false, kind: RuleKind::All, major: None, minor: None, access: ANY },
            DeviceRule {
                allow: true,
                kind: RuleKind::Char,
                major: Some(1),
                minor: None,
                access: READ | MKNOD
            },
        ]
    );
    assert_eq!(r.settings, SETTINGS.map(|(what, of, n)| Setting { what, of, n }));
    assert!(r.warning().is_some());
    assert_eq!(r.unified, [("memory.high", "1000")]);
}

#[test]
fn members_are_in_the_order_of_the_enum() {
    for (at, member) in MEMBERS.iter().enumerate() {
        assert_eq!(at, member.what as usize, "{}", member.field());
    }
}

#[test]
fn numbers_without_a_sign_use_all_their_bits() {
    let r = read(
        r#"{"cpu":{"shares":18446744073709551615,"quota":-7},"hugepageLimits":[{"pageSize":"2MB","limit":18446744073709551615}]}"#,
    );
    let values: Vec<String> = r.unwrap().settings.iter().map(Setting::value).collect();
    assert_eq!(values, ["18446744073709551615", "-1", "18446744073709551615"]);
}

#[test]
fn zero_is_not_set_where_go_cannot_tell() {
    let r = read(
        r#"{"memory":{"limit":0,"swap":0,"reservation":0},"cpu":{"shares":0,"period":0,"cpus":""},"blockIO":{"weight":0},
            "network":null,"pids":{}}"#,
    );
    assert_eq!(r, Ok(Resources::default()));
    assert_eq!(read(r#"{"cpu":{"quota":0}}"#).unwrap().number(ResourceField::Quota), None);
}

#[test]
fn faults_name_the_field() {
    for (text, says) in [
        ("[]", "must be an object, is an array"),
        (r#"{"devices":[{"type":"c"}]}"#, "devices[0].allow: is required"),
        (r#"{"devices":[{"allow":true,"type":"p"}]}"#, "devices[0].type: unknown \"p\" (known: a, b, c)"),
        (
            r#"{"devices":[{"allow":true,"access":"rx"}]}"#,
            "devices[0].access: must be made of r, w and m, is \"rx\"",
        ),
        (
            r#"{"devices":[{"allow":true,"access":""}]}"#,
            "devices[0].access: must be made of r, w and m, is \"\"",
        ),
        (r#"{"devices":[{"allow":true}]}"#, "devices[0].access: is required"),
        (
            r#"{"devices":[{"allow":true,"access":"rwa"}]}"#,
            "devices[0].access: \"a\" is no access that can be allowed, \"rwm\" is",
        ),
        (
            r#"{"devices":[{"allow":false,"access":"xa"}]}"#,
            "devices[0].access: must be made of r, w and m, is \"x\"",
        ),
        (r#"{"devices":[{"allow":true,"type":"c","access":null}]}"#, "devices[0].access: is required"),
        (r#"{"devices":[{"allow":true,"major":-2}]}"#, "devices[0].major: -2 is no device number"),
        (r#"{"memory":{"limit":-2}}"#, "memory.limit: must be a number of bytes, or -1 for unlimited"),
        (r#"{"memory":{"swappiness":101}}"#, "memory.swappiness: must be 0 to 100, is 101"),
        (r#"{"cpu":{"idle":2}}"#, "cpu.idle: must be 0 or 1, is 2"),
        (r#"{"cpu":{"shares":"1"}}"#, "cpu.shares: must be an integer, is a string"),
        (r#"{"cpu":{"quota":10,"burst":11}}"#, "cpu.burst: 11 is more than the quota of 10"),
        (r#"{"pids":7}"#, "pids: must be an object, is a number"),
        (r#"{"blockIO":{"weight":9}}"#, "blockIO.weight: must be 10 to 1000, is 9"),
        (
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0}]}}"#,
            "blockIO.weightDevice[0]: needs weight or leafWeight",
        ),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0}]}}"#,
            "blockIO.throttleReadBpsDevice[0].rate: is required",
        ),
        (r#"{"rdma":{"a b":{"hcaHandles":1}}}"#, "rdma.a b: must be a name without blanks, is \"a b\""),
        (r#"{"rdma":{"a":{}}}"#, "rdma.a: needs hcaHandles or hcaObjects"),
        (
            r#"{"unified":{"cgroup.procs":"1"}}"#,
            "unified.cgroup.procs: moves or kills processes and is not a limit",
        ),
        (
            r#"{"unified":{"../x.y":"1"}}"#,
            "unified.../x.y: must be the name of a cgroup v2 file, such as memory.high",
        ),
    ] {
        assert_eq!(read(text), Err(says.to_owned()), "{text}");
    }
    for size in ["", "MB", "2M", "2mb", "02MB", "+2MB", "2TB", "../2MB", "2 MB", "2KMB"] {
        let text = format!(r#"{{"hugepageLimits":[{{"pageSize":"{size}","limit":1}}]}}"#);
        assert!(read(&text).unwrap_err().starts_with("hugepageLimits[0].pageSize: must be a size"), "{size}");
    }
}

#[test]
fn keys_that_differ_only_in_case_are_refused() {
    for (text, says) in [
        (r#"{"cpu":{"shares":2,"Shares":3}}"#, "cpu.Shares: is there twice, in another case"),
        (r#"{"cpu":{"shares":2},"CPU":{"shares":3}}"#, "CPU.shares: is there twice, in another case"),
        (r#"{"devices":[],"Devices":[]}"#, "Devices: is there twice, in another case"),
        (
            r#"{"hugepageLimits":[{"pageSize":"2MB","pagesize":"2MB","limit":1}]}"#,
            "hugepageLimits[0].pagesize: is there twice, in another case",
        ),
    ] {
        assert_eq!(read(text).unwrap_err().to_string(), says);
    }
}

#[test]
fn keys_match_in_any_case_as_in_go() {
    let text =
        r#"{"CPU":{"SHARES":2},"hugepagelimits":[{"pagesize":"2MB","Limit":1}],"Devices":[{"ALLOW":false}]}"#;
    let exact =
        r#"{"cpu":{"shares":2},"hugepageLimits":[{"pageSize":"2MB","limit":1}],"devices":[{"allow":false}]}"#;
    assert_eq!(read(text), read(exact));
}

#[test]
fn letter_a_denies_every_access() {
    for letters in ["a", "rwa", "ra"] {
        let text = format!(r#"{{"devices":[{{"allow":false,"type":"c","access":"{letters}"}}]}}"#);
        assert_eq!(read(&text).unwrap().devices[0].access, ANY);
    }
}
