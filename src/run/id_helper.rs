//! newuidmap and newgidmap, which map the further ids of an ordinary user.
//!
//! They have the rights for it, and check that the ids belong to the user (subuid(5)).

use nix::unistd::Pid;

use super::hooks::{self, HookContext};
use crate::bundle::spec::{Hook, IdMapping};
use crate::error::{Context, Result};
use crate::json::value::Json;
use crate::state::locked::Locked;
use crate::text::{Keep, Text};

/// Neither reads any, but the libraries that they use may.
const ENVIRONMENT: &[Text] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
/// They may ask a directory service for the user's ids.
const SECONDS: u32 = 30;

/// Lets a helper write the map of a process, with no descriptor of ours.
///
/// Like a hook it may take long, so other commands may use the container meanwhile.
pub(super) fn run(slot: &mut Option<Locked>, helper: Text, pid: Pid, map: &[IdMapping]) -> Result<()> {
    let mut args: Vec<Text> = vec![helper, pid.to_string().keep()];
    for range in map {
        args.extend([range.container_id, range.host_id, range.size].map(|n| n.to_string().keep()));
    }
    let program = Hook { path: helper, args: args.keep(), env: ENVIRONMENT, timeout: Some(SECONDS) };
    hooks::run(&HookContext::default(), slot, &program, &Json::Null)
        .map_err(|e| e.hint("/etc/subuid and /etc/subgid must give these ids to the user"))
        .about(format_args!("{helper}"))
}
