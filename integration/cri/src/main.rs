//! Calls Kubernetes' container runtime interface (CRI), for the tests.
//!
//! - `cri call SOCKET METHOD [JSON]` calls a method over gRPC and prints the reply as JSON.
//! - `cri stream URL` joins an exec or attach session of the streaming server: standard input goes to the
//!   process, its output comes to ours, and the exit status is the process's.
//! - `cri forward URL PORT` sends standard input to a forwarded port and prints the answer.

mod grpc;
mod streams;

use std::process::ExitCode;

/// The exit status of a failed call. No payload of the tests returns it.
const FAULT: u8 = 120;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["call", socket, method] => {
            grpc::call(socket, method, "{}").map(|reply| println!("{reply}")).map(|()| 0)
        }
        ["call", socket, method, json] => {
            grpc::call(socket, method, json).map(|reply| println!("{reply}")).map(|()| 0)
        }
        ["stream", url] => streams::session(url),
        ["forward", url, port] => streams::forward(url, port).map(|()| 0),
        _ => Err("usage: cri call SOCKET METHOD [JSON] | stream URL | forward URL PORT".into()),
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(why) => {
            eprintln!("cri: {why}");
            ExitCode::from(FAULT)
        }
    }
}
