//! `linux.intelRdt`, with a fake resctrl: this machine has no such processor.

mod fake;

use crate::cases;
use crate::common::{Case, Container, Test};
use fake::FakeResctrl;
use serde_json::{Value, json};

pub const CASES: &[Case] = cases![
    container_gets_a_class_of_its_own,
    exec_joins_the_groups_of_the_container,
    named_class_is_made_or_compared,
    named_class_of_others_stays,
    root_class_is_only_monitored,
    failed_create_removes_what_it_made,
    killed_create_is_undone_by_delete,
    missing_file_system_or_class_is_an_error,
    group_of_the_same_name_is_refused,
];

fn resctrl(t: &Test) -> FakeResctrl {
    FakeResctrl::mount().unwrap_or_else(|| t.skip("the kernel has no FUSE"))
}

fn container<'t>(t: &'t Test, rdt: Value) -> Container<'t> {
    let mut c = t.container();
    c.config["linux"]["intelRdt"] = rdt;
    c.probe("pause");
    c
}

fn container_gets_a_class_of_its_own(t: &Test) {
    let fake = resctrl(t);
    let schemata = json!(["L3:1=3"]);
    let rdt = json!({"l3CacheSchema": "L3:0=f;1=f", "memBwSchema": "MB:0=50", "schemata": schemata,
                     "enableMonitoring": true});
    let c = container(t, rdt);
    c.create().ok();
    let (id, pid) = (&c.id, c.pid());
    let class = format!("/{id}");
    let monitor = format!("/{id}/mon_groups/{id}");
    assert_eq!(fake.groups(), [class.clone(), monitor.clone()]);
    // Later lines replace earlier ones; domains that no line names keep their value.
    assert_eq!(fake.read(&format!("{class}/schemata")), "L3:0=f;1=3\nMB:0=50;1=100\n");
    for group in [&class, &monitor] {
        assert_eq!(fake.read(&format!("{group}/tasks")), format!("{pid}\n"));
    }
    c.start().ok();
    c.remove();
    assert_eq!(fake.groups(), [""; 0]);
    let log = fake.log();
    assert_eq!(log.last().unwrap(), &format!("rmdir {class}"), "{log:?}");
}

fn exec_joins_the_groups_of_the_container(t: &Test) {
    let fake = resctrl(t);
    let c = container(t, json!({"enableMonitoring": true}));
    c.up();
    let before = fake.log().len();
    c.exec(&["true"]).ok();
    let log = fake.log()[before..].to_vec();
    let id = &c.id;
    assert!(log[0].starts_with(&format!("write /{id}/tasks ")), "{log:?}");
    assert!(log[1].starts_with(&format!("write /{id}/mon_groups/{id}/tasks ")), "{log:?}");
    assert_eq!(log.len(), 2, "{log:?}");
    // No schema is written if none is given.
    assert!(!fake.log().iter().any(|line| line.contains("schemata")));
    c.remove();
}

fn named_class_is_made_or_compared(t: &Test) {
    let fake = resctrl(t);
    let first = container(t, json!({"closID": "gold", "l3CacheSchema": "L3:0=f"}));
    first.up();
    assert_eq!(fake.groups(), ["/gold"]);
    let second = container(t, json!({"closID": "gold", "schemata": ["L3:0=00F;1=fff"]}));
    second.up();
    let other = container(t, json!({"closID": "gold", "l3CacheSchema": "L3:0=ff"}));
    other.create().fails(&["schemata has not L3:0=ff"]);
    // Another container is in it.
    first.remove();
    assert_eq!(fake.groups(), ["/gold"]);
    second.remove();
    assert_eq!(fake.groups(), ["/gold"], "the second has not made it");
    std::fs::remove_dir("/sys/fs/resctrl/gold").unwrap();
    let alone = container(t, json!({"closID": "gold", "l3CacheSchema": "L3:0=f"}));
    alone.up();
    alone.remove();
    assert_eq!(fake.groups(), [""; 0]);
}

fn named_class_of_others_stays(t: &Test) {
    let fake = resctrl(t);
    std::fs::create_dir("/sys/fs/resctrl/silver").unwrap();
    let c = container(t, json!({"closID": "silver", "enableMonitoring": true}));
    c.up();
    assert_eq!(fake.read("/silver/tasks"), format!("{}\n", c.pid()));
    c.remove();
    assert_eq!(fake.groups(), ["/silver"]);
}

fn root_class_is_only_monitored(t: &Test) {
    let fake = resctrl(t);
    let c = container(t, json!({"closID": "/", "enableMonitoring": true}));
    c.up();
    assert_eq!(fake.groups(), [format!("/mon_groups/{}", c.id)]);
    assert_eq!(fake.read(&format!("/mon_groups/{}/tasks", c.id)), format!("{}\n", c.pid()));
    c.remove();
    assert_eq!(fake.groups(), [""; 0]);
}

fn failed_create_removes_what_it_made(t: &Test) {
    let fake = resctrl(t);
    let c = container(t, json!({"l3CacheSchema": "L9:0=f", "enableMonitoring": true}));
    // The kernel's own words.
    c.create().fails(&["Unknown or unsupported resource name"]);
    assert_eq!(fake.groups(), [""; 0]);
    let mut c = container(t, json!({"closID": "gold", "l3CacheSchema": "L3:0=f", "enableMonitoring": true}));
    c.config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    c.create().fails(&["hook"]);
    assert_eq!(fake.groups(), [""; 0]);
    for n in 0..5 {
        std::fs::create_dir(format!("/sys/fs/resctrl/other{n}")).unwrap();
    }
    let c = container(t, json!({"enableMonitoring": true}));
    c.create().fails(&["out of CLOSIDs"]);
    assert_eq!(fake.groups().len(), 5);
    (0..5).for_each(|n| std::fs::remove_dir(format!("/sys/fs/resctrl/other{n}")).unwrap());
}

/// The runtime is killed at each change that it makes.
fn killed_create_is_undone_by_delete(t: &Test) {
    let fake = resctrl(t);
    let own = json!({"schemata": ["L3:0=f"], "enableMonitoring": true});
    let named = json!({"closID": "gold", "l3CacheSchema": "L3:0=f", "enableMonitoring": true});
    for rdt in [own, named] {
        // Two directories, the schemata, two tasks.
        for change in 0..5 {
            let c = container(t, rdt.clone());
            fake.kill_at(change);
            c.create().exits(137);
            assert_eq!(fake.log().len(), change + 1, "{:?}", fake.log());
            c.remove();
            assert_eq!(fake.groups(), [""; 0], "{rdt} {change}: {:?}", fake.log());
        }
    }
}

fn missing_file_system_or_class_is_an_error(t: &Test) {
    let c = container(t, json!({}));
    c.create().fails(&["linux.intelRdt: no resctrl is mounted at /sys/fs/resctrl"]);
    let fake = resctrl(t);
    let c = container(t, json!({"closID": "none"}));
    c.create().fails(&["linux.intelRdt.closID: there is no /sys/fs/resctrl/none"]);
    let c = container(t, json!({"closID": "a/b"}));
    c.create().fails(&["linux.intelRdt.closID: is not the name"]);
    // Nothing is touched without the section.
    t.container().probe("pid").run().ok();
    assert_eq!(fake.log(), [""; 0]);
}

fn group_of_the_same_name_is_refused(t: &Test) {
    let fake = resctrl(t);
    let c = container(t, json!({}));
    std::fs::create_dir(format!("/sys/fs/resctrl/{}", c.id)).unwrap();
    c.create().fails(&["exists"]);
    assert_eq!(fake.groups(), [format!("/{}", c.id)]);
}
