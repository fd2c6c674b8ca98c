//! Compiles a spec for several hosts and requests.
//!
//! The laws of `plan/order.rs` judge the plans.

use embrun::bundle::spec::{NamespaceKind, Spec};
use embrun::cgroup::place::layout::Layout;
use embrun::cgroup::planned::CgroupManager;
use embrun::facts::{AppArmor, HostFacts, Mappable, OrdinaryUser};
use embrun::plan::Outputs;
use embrun::plan::create::{self, CreateRequest};
use embrun::plan::exec::{self, ExecRequest};
use embrun::plan::validate::Refusal;

const V2: (&str, &str) = ("30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n", "0::/own\n");
const HYBRID: (&str, &str) = (
    "30 1 0:26 / /c/memory rw - cgroup c rw,memory\n31 1 0:27 / /c/cpu rw - cgroup c rw,cpu,cpuacct\n\
     32 1 0:28 / /c/pids rw - cgroup c rw,pids\n33 1 0:29 / /c/devices rw - cgroup c rw,devices\n\
     34 1 0:30 / /c/unified rw - cgroup2 c rw\n",
    "5:devices:/\n4:pids:/\n3:cpu,cpuacct:/\n2:memory:/\n0::/\n",
);

thread_local! {
    static HOSTS: [HostFacts; 2] = hosts();
}

/// Two hosts: root with cgroup v2, and an ordinary user on a hybrid host.
fn hosts() -> [HostFacts; 2] {
    let facts = |(mounts, own): (&str, &str)| HostFacts {
        capabilities: u64::MAX >> 23,
        cgroups: Layout::parse(mounts, own),
        v2_controllers: Some("cpuset cpu io memory hugetlb pids rdma misc".into()),
        seccomp: embrun::seccomp::support::support(),
        selinux: true,
        apparmor: AppArmor::Unconfined,
        ..HostFacts::default()
    };
    let one = |helper| Mappable::One { id: 1000, helper: Some(helper) };
    let user = OrdinaryUser { uids: one("/usr/bin/newuidmap"), gids: one("/usr/bin/newgidmap") };
    [facts(V2), HostFacts { user: Some(user), ..facts(HYBRID) }]
}

fn request(bits: u8, spec: &Spec) -> CreateRequest {
    let is = |bit: u8| bits & 1 << bit != 0;
    // Without a mount namespace the command line asks for no notify socket.
    let notifies = is(6) && spec.linux.namespace(NamespaceKind::Mount).is_some();
    CreateRequest {
        id: "web",
        bundle: "/b",
        rootfs: "/b/r",
        notify: notifies.then_some("/run/embrun/web/notify/inside"),
        no_pivot: is(0),
        keyring: is(1).then_some("_ses.web.0"),
        await_start: is(2),
        detach: is(2) || is(3),
        outputs: Outputs {
            console_socket: is(4).then_some("/s"),
            pidfd_socket: is(5).then_some("/p"),
            pid_file: is(5).then_some("/f"),
        },
        cgroup_manager: if is(7) { CgroupManager::Systemd { user: false } } else { CgroupManager::Cgroupfs },
        ..CreateRequest::default()
    }
}

/// Compiles with a few requests.
pub fn judge(spec: &Spec) {
    for bits in [0, 0b0000_0110, 0b1011_1010] {
        judge_request(spec, bits);
    }
}

/// Compiles for each host with the request that the bits describe.
///
/// Returns the number of plans.
pub fn judge_request(spec: &Spec, bits: u8) -> usize {
    HOSTS.with(|hosts| hosts.iter().map(|facts| judge_host(spec, bits, facts)).sum())
}

fn judge_host(spec: &Spec, bits: u8, facts: &HostFacts) -> usize {
    let mut planned = 0;
    let compile = || create::compile(spec, &request(bits, spec), facts);
    match (compile(), compile()) {
        (Ok(plan), Ok(same)) => {
            planned += 1;
            assert_eq!(plan.broken(), [""; 0], "{spec:?}\n{plan}");
            assert_eq!(plan.to_string(), same.to_string(), "the same input gives another plan");
        }
        (Err(refusals), Err(_)) => check(&refusals),
        _ => panic!("accepted once and refused once: {spec:?}"),
    }
    if let Some(process) = &spec.process {
        let join = [NamespaceKind::Mount, NamespaceKind::Pid, NamespaceKind::User];
        let join = join[..1 + usize::from(bits) % 3].iter().map(|kind| (*kind, "/n")).collect();
        let request = ExecRequest { join, detach: bits & 4 != 0, ..ExecRequest::default() };
        if let Ok(plan) = exec::compile(process, spec.linux.seccomp.as_ref(), &request, facts) {
            planned += 1;
            assert_eq!(plan.broken(), [""; 0], "{process:?}\n{plan}");
        }
    }
    planned
}

/// Each refusal names a property and says why, in one line.
fn check(refusals: &[Refusal]) {
    assert!(!refusals.is_empty());
    for refusal in refusals {
        assert!(!refusal.field.is_empty() && !refusal.what.is_empty(), "{refusal}");
        assert_eq!(refusal.to_string().lines().count(), 1, "{refusal}");
    }
}
