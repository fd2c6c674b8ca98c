//! `linux.seccomp` as types.

/// What `linux.seccomp` asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {}
