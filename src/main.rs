//! The thin binary: argv in, one error line out.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(embrun::cli::main(std::env::args_os().collect()))
}
