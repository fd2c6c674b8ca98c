//! The kernel tests: real containers on this machine's kernel, as root.
//!
//! Each file covers a section of the spec. `common` runs the tests, and `CONTRIBUTING.md` shows how to
//! write one.

mod bad_input;
mod cgroup_access;
mod cgroups;
mod chroot;
#[path = "../common/mod.rs"]
mod common;
mod confine;
mod containerd_engines;
mod costs;
mod credentials;
mod cri;
mod cri_engines;
mod damage;
mod defences;
mod descriptors;
mod devices;
mod diagnosis;
mod docker;
mod engine_calls;
mod engines;
mod entered_user_namespaces;
mod escape;
#[path = "../exchange.rs"]
mod exchange;
mod exec;
mod exec_process;
mod faults;
mod filters;
mod hooks;
mod host_mounts;
mod hostile;
mod hostile_dev;
mod hostile_process;
mod hostile_users;
mod hung;
mod idmap;
mod intel_rdt;
mod kill_and_delete;
mod labelled;
mod labels;
mod lifecycle;
mod limits;
mod logs;
mod mapped_engines;
mod memory;
mod mounts;
#[path = "../mutate.rs"]
mod mutate;
mod namespaces;
mod nested;
mod network;
mod notify;
mod numa;
mod outputs;
mod process;
mod recorder;
mod relay;
mod robust;
mod roles;
mod rootless;
mod rootless_engines;
mod sd_notify;
mod sd_notify_relay;
mod selftest;
mod service;
mod signals;
mod state;
mod strain;
mod terminal;
mod time;
mod trace;
mod update;
mod user_namespaces;
mod words;
mod wrong_values;

use common::Case;

/// The tests of a usual run.
const ALL: &[&[Case]] = &[
    bad_input::CASES,
    cgroup_access::CASES,
    cgroups::CASES,
    chroot::CASES,
    confine::CASES,
    costs::CASES,
    credentials::CASES,
    damage::CASES,
    defences::CASES,
    descriptors::CASES,
    devices::CASES,
    engine_calls::CASES,
    diagnosis::CASES,
    entered_user_namespaces::CASES,
    escape::CASES,
    exec::CASES,
    exec_process::CASES,
    filters::CASES,
    hooks::CASES,
    host_mounts::CASES,
    hostile::CASES,
    hostile_dev::CASES,
    hostile_process::CASES,
    hostile_users::CASES,
    hung::CASES,
    idmap::CASES,
    intel_rdt::CASES,
    kill_and_delete::CASES,
    labels::CASES,
    lifecycle::CASES,
    limits::CASES,
    logs::CASES,
    memory::CASES,
    mounts::CASES,
    namespaces::CASES,
    nested::CASES,
    network::CASES,
    notify::CASES,
    numa::CASES,
    outputs::CASES,
    process::CASES,
    recorder::CASES,
    relay::CASES,
    robust::CASES,
    rootless::CASES,
    roles::CASES,
    sd_notify::CASES,
    sd_notify_relay::CASES,
    selftest::CASES,
    service::CASES,
    signals::CASES,
    state::CASES,
    strain::CASES,
    terminal::CASES,
    time::CASES,
    trace::CASES,
    update::CASES,
    user_namespaces::CASES,
    words::CASES,
    wrong_values::CASES,
];

/// The tests that run only with `--ignored`.
const ON_DEMAND: &[&[Case]] = &[
    containerd_engines::CASES,
    cri_engines::CASES,
    docker::CASES,
    engines::CASES,
    escape::SLOW,
    faults::SLOW,
    labelled::CASES,
    mapped_engines::CASES,
    robust::SLOW,
    rootless_engines::CASES,
    selftest::FAILING,
];

fn main() -> std::process::ExitCode {
    common::run(ALL, ON_DEMAND)
}
