//! `witvirt`: the daemon and its command line.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else exists in this process: the compiler of plugins confines itself.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "compile-plugin") {
        return witvirt_engine::compile_child_main();
    }
    witvirt::cli::main()
}
