#![no_main]

#[path = "../bodies/artifact.rs"]
#[allow(dead_code)]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run::<artifact_containerdisk::ContainerDisk>(data);
    body::run::<artifact_macosvz::MacosVz>(data);
    body::run::<artifact_tart::Tart>(data);
    body::run::<artifact_oras::Oras>(data);
});
