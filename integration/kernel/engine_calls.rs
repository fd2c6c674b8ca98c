//! The command lines of engines, replayed without an engine.

use crate::cases;
use crate::common::test::STATE;
use crate::common::{Case, Test};
use serde_json::json;
use std::fs::{self, File};

pub const CASES: &[Case] = cases![recorded_calls_work_in_their_order];

/// Recorded by a wrapper in place of the runtime; the paths are replaced.
const CALLS: &str = include_str!("engine-calls.txt");

fn recorded_calls_work_in_their_order(t: &Test) {
    t.needs_controller("freezer");
    let out = t.path("out");
    fs::create_dir(&out).unwrap();
    let (process, resources) = (out.join("process"), out.join("resources"));
    let exec = json!({"args": ["/bin/probe", "pid"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    fs::write(&process, exec.to_string()).unwrap();
    fs::write(&resources, "{}").unwrap();
    for engine in CALLS.split("\n# ").skip(1) {
        let mut c = t.container();
        c.probe("trap TERM pause").write();
        let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        let places = [
            ("ROOT", STATE.to_owned()),
            ("BUNDLE", text(&c.bundle)),
            ("OUT", text(&out)),
            ("PROCESS", text(&process)),
            ("RESOURCES", text(&resources)),
            ("ID", c.id.clone()),
        ];
        for call in engine.lines().skip(1) {
            let words = call.split(' ').map(|word| {
                places.iter().fold(word.to_owned(), |word, (name, value)| word.replace(name, value))
            });
            let mut command = t.command(&[]);
            command.args(words).env("IT_STDIN", "").stdin(File::open(&resources).unwrap());
            t.finish(command).ok();
            if call.contains("kill ID 9") {
                c.stopped();
            }
        }
        assert!(!std::path::Path::new(STATE).join(&c.id).exists(), "{engine}");
    }
}
