//! `linux.resources` as types.

/// What `linux.resources` asks for; the default asks for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {}
