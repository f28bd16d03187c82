#![no_main]

#[path = "../bodies/asif.rs"]
#[allow(dead_code)]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
