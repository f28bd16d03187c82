//! The compiling child as a program of its own, for hosts and tests that have no `witvirt compile-plugin`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    witvirt_engine::compile_child_main()
}
