//! The thin binary: argv in, one error line out.

fn main() {}
