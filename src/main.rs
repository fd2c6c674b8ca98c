//! The thin binary: argv in, one error line out.

#[cfg(all(target_env = "musl", target_feature = "crt-static"))]
#[path = "sys/c_heap.rs"]
mod c_heap;

#[global_allocator]
static HEAP: embrun::sys::heap::Heap = embrun::sys::heap::Heap;

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(embrun::cli::main(std::env::args_os().collect()))
}
