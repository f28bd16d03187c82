//! The processes of the tests: one that imports cases, one that compiles plugins.

use std::process::ExitCode;

use witvirt_hostile::{child, plugins};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [plugins::COMPILE] => witvirt_engine::compile_child_main(),
        ["import", cache] => match child::main(cache) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("this program belongs to the tests of hostile images; run: cargo xtask test");
            ExitCode::FAILURE
        }
    }
}
