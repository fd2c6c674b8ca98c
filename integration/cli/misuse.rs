//! Wrong usage: one error on stderr, help on stdout if useful, exit status 1.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::{Scratch, said};

#[test]
fn wrong_number_of_arguments_prints_the_help() {
    let s = Scratch::new();
    let said = s.call(&["state"]);
    said.fails("\"state\" requires exactly 1 argument(s)");
    assert!(said.stdout.starts_with("Incorrect Usage.\n\nNAME:\n   embrun state - "), "{said:?}");
}

/// `HOST[:PATH]` has a colon of its own.
#[test]
fn help_has_the_whole_form_of_a_value() {
    let help = Scratch::new().call(&["spec", "--help"]).ok().to_owned();
    let line = "\n  --device HOST[:PATH[:ACCESS]]... let the program use ";
    assert!(help.contains(line), "{help}");
}

#[test]
fn misspelt_words_are_reported_in_one_line() {
    let s = Scratch::new();
    for (line, error) in [
        (&["bogus"][..], "unknown command \"bogus\" (embrun --help lists the commands)"),
        (&["stat", "web"], "unknown command \"stat\" (did you mean start?)"),
        (&["run", "--detatch", "web"], "flag provided but not defined: -detatch (did you mean --detach?)"),
        (&["--rot", "/x", "list"], "flag provided but not defined: -rot (did you mean --root?)"),
        (
            &["list", "--root", "/x"],
            "flag provided but not defined: -root (a global option: it must precede the command)",
        ),
    ] {
        let said = s.call(line);
        said.fails(error);
        assert_eq!(said.stdout, "");
    }
}

/// podman probes with the first and reads exit status 0 as support.
///
/// CRI-O probes with the second and matches runc's text.
#[test]
fn checkpoint_and_restore_probes_are_answered_no() {
    let s = Scratch::new();
    let why = "is not supported (there is no checkpoint and restore)";
    s.call(&["checkpoint", "--help"]).fails(&format!("checkpoint {why}"));
    s.call(&["restore", "--lsm-mount-context"]).fails(&format!("restore {why}"));
    // runc's tests read this page.
    let page = "NAME:\n   embrun checkpoint - not supported, there is no checkpoint and restore\n";
    assert_eq!(s.call(&["checkpoint", "-h"]).ok(), page);
}

#[test]
fn arguments_that_are_not_utf8_are_refused() {
    let s = Scratch::new();
    let bytes = |text: &str| OsString::from_vec([text.as_bytes(), &[0xff]].concat());
    let refused = |args: &[&str], last: &str, rest: &[&str], why: &str| {
        let mut command = s.embrun(args);
        command.arg(bytes(last)).args(rest);
        said(command).fails(why);
    };
    refused(&["state"], "a", &[], "argument \"a\\xff\" is not UTF-8");
    refused(&["exec"], "a", &["true"], "argument \"a\\xff\" is not UTF-8");
    refused(&["ps", "web"], "-e", &[], "argument \"-e\\xff\" is not UTF-8");
    refused(&["run", "--bundle"], "/b", &["web"], "--bundle: \"/b\\xff\" is not UTF-8");
    refused(&["create", "--bundle", "/b"], "--pid-file=/p", &["web"], "--pid-file: \"/p\\xff\" is not UTF-8");
    refused(&["exec", "--cwd"], "/c", &["web", "true"], "--cwd: \"/c\\xff\" is not UTF-8");
    refused(&["--log"], "/l", &["state", "web"], "--log: \"/l\\xff\" is not UTF-8");
    // The log line is still valid JSON.
    let log = s.path("log");
    refused(&["--log", &log, "--log-format", "json", "state"], "a", &[], "argument \"a\\xff\" is not UTF-8");
    let line: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(line["msg"], "argument \"a\\xff\" is not UTF-8");
}

#[test]
fn ids_that_are_paths_are_refused() {
    let s = Scratch::new();
    for id in ["..", "a/b", "../root", "/etc"] {
        for command in
            [&["state"][..], &["start"], &["kill"], &["delete"], &["delete", "--force"], &["pause"]]
        {
            let said = s.call(&[command, &[id]].concat());
            assert_eq!(said.status, 1, "{command:?} {id}: {said:?}");
            assert!(!said.stderr.contains("panicked"), "{said:?}");
        }
    }
}

#[test]
fn kill_all_of_a_missing_container_is_an_error() {
    let s = Scratch::new();
    s.call(&["kill", "--all", "web", "9"]).fails("kill web: container does not exist");
}
