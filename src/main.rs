//! The binary: passes argv to the library and prints at most one error line.
#![cfg_attr(not(test), no_main)]

#[cfg(all(target_env = "musl", target_feature = "crt-static"))]
#[path = "sys/c_calls.rs"]
mod c_calls;
#[cfg(all(target_env = "musl", target_feature = "crt-static"))]
#[path = "sys/c_heap.rs"]
mod c_heap;
#[cfg(not(test))]
#[path = "sys/c_main.rs"]
mod c_main;

#[global_allocator]
static HEAP: embrun::sys::heap::Heap = embrun::sys::heap::Heap;
