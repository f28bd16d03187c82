//! A disk format that misbehaves as its setting "behaviour" says. Without one it maps every image as zeros.
//!
//! Built for WebAssembly only: no native linker takes the names that a component exports.
#![cfg(target_family = "wasm")]

use std::hint::black_box;
use std::sync::OnceLock;

mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../../wit/types", "../../../wit/disk"],
        world: "witvirt:disk/disk-format-writer",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use bindings::exports::witvirt::disk::format::{
    Extent, ExtentKind, Finding, Geometry, Guest, GuestImage, Image, Page, Placement, ProbeResult, Reference,
};
use bindings::exports::witvirt::disk::layout::{
    self, Chunk, CreateRequest, Ending, GuestWriter, Plan, Write, Writer,
};
use bindings::witvirt::disk::io::Source;
use witvirt_sdk::{Error, ErrorKind, Info, Plugin};

static BEHAVIOUR: OnceLock<String> = OnceLock::new();

fn behaviour() -> &'static str {
    BEHAVIOUR.get().map_or("", String::as_str)
}

struct Hostile;

impl Plugin for Hostile {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: "6.6.6".to_owned(),
            description: "misbehaves as told".to_owned(),
            settings_schema: Some("{\"type\": \"object\"}".to_owned()),
        }
    }

    fn configure(settings: &str) -> Result<(), Error> {
        let settings: serde_json::Value = serde_json::from_str(settings).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, format!("settings are not JSON: {error}"))
        })?;
        let name = settings["behaviour"].as_str().unwrap_or_default();
        if BEHAVIOUR.set(name.to_owned()).is_err() {
            return Err(Error::new(ErrorKind::Other, "configured twice"));
        }
        if name == "loop-in-configure" {
            endless();
        }
        Ok(())
    }
}

impl Guest for Hostile {
    type Image = HostileImage;

    fn formats() -> Vec<String> {
        vec!["hostile".to_owned()]
    }

    fn probe(_head: Vec<u8>, _tail: Vec<u8>, size: u64) -> Option<ProbeResult> {
        let result = |confidence, format: &str| {
            Some(ProbeResult { confidence, format: format.to_owned(), version: Some("v\x1b[2J".to_owned()) })
        };
        match behaviour() {
            "bad-confidence" => result(255, "hostile"),
            "foreign-format" => result(100, "qcow2"),
            _ if size == 0 => None,
            _ => result(100, "hostile"),
        }
    }
}

struct HostileImage {
    primary: Source,
}

impl Drop for HostileImage {
    fn drop(&mut self) {
        if behaviour() == "trap-in-drop" {
            trap();
        }
    }
}

impl GuestImage for HostileImage {
    fn open(primary: Source, _options: String) -> Result<Image, Error> {
        let image = Image::new(Self { primary });
        if behaviour() == "trap-in-drop" {
            drop(image);
            return Err(Error::new(ErrorKind::Other, "the destructor came back"));
        }
        Ok(image)
    }

    fn geometry(&self) -> Geometry {
        let logical_sector = if behaviour() == "bad-sector" { 520 } else { 512 };
        Geometry { virtual_size: self.primary.size(), cluster_size: 0, logical_sector }
    }

    fn facts(&self) -> Vec<(String, String)> {
        let count = if behaviour() == "many-facts" { 65 } else { 1 };
        vec![("name\n".to_owned(), "a\x1b]0;owned\x07b".to_owned()); count]
    }

    fn references(&self) -> Vec<Reference> {
        let reference = |id, name: String| Reference {
            id,
            role: "extent".to_owned(),
            name,
            format_hint: None,
            required: true,
        };
        match behaviour() {
            "many-references" => (1..=4097).map(|id| reference(id, "x".to_owned())).collect(),
            "long-name" => vec![reference(1, "x".repeat(1 << 20))],
            _ => vec![reference(1, "../../etc/shadow\n".to_owned())],
        }
    }

    fn attach(&self, _id: u32, _content: Source) -> Result<(), Error> {
        Ok(())
    }

    fn extents(&self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let zeros = Extent { start, length, kind: ExtentKind::Zero };
        let one = |extent| Ok(Page { extents: vec![extent], next: None });
        match behaviour() {
            "loop" => endless(),
            "stack-overflow" => one(Extent { length: deeper(start), ..zeros }),
            "allocate" => one(Extent { length: black_box(vec![1u8; 400 << 20]).len() as u64, ..zeros }),
            "huge-list" => one(Extent { kind: ExtentKind::Literal(vec![1; 200 << 20]), ..zeros }),
            "trap-in-map" if start == 0 => {
                Ok(Page { extents: vec![Extent { length: 512, ..zeros }], next: Some(512) })
            }
            "trap-in-map" => trap(),
            "panic" => panic!("the table at {:#x} makes no sense\x1b[2J", start + 0x30000),
            "lying-extents" => Ok(Page { extents: lies(), next: Some(start) }),
            "many-extents" => Ok(Page { extents: vec![zeros; max as usize + 1], next: None }),
            "long-literal" => one(Extent { kind: ExtentKind::Literal(vec![0; (64 << 10) + 1]), ..zeros }),
            "endless-reads" => self.read_until_refused(512),
            "large-reads" => self.read_until_refused((1 << 20) + 1),
            "log-flood" => log_flood(),
            "hostile-error" => Err(hostile_error()),
            _ => one(zeros),
        }
    }

    fn decode(&self, _codec: String, data: Vec<u8>, decoded_length: u32) -> Result<Vec<u8>, Error> {
        let length = if behaviour() == "short-decode" { decoded_length - 1 } else { decoded_length };
        Ok(vec![data.first().copied().unwrap_or_default(); length as usize])
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        let finding = Finding { severity: 1, code: "x".to_owned(), message: "y\r".to_owned(), offset: None };
        Ok(vec![finding; if behaviour() == "many-findings" { 1001 } else { 1000 }])
    }
}

impl HostileImage {
    fn read_until_refused(&self, len: u32) -> Result<Page, Error> {
        loop {
            self.primary.read_at(0, len)?;
        }
    }
}

impl layout::Guest for Hostile {
    type Writer = HostileWriter;
}

struct HostileWriter;

impl GuestWriter for HostileWriter {
    fn create(_request: CreateRequest) -> Result<Writer, Error> {
        Ok(Writer::new(Self))
    }

    fn plan(&self) -> Plan {
        Plan { chunk_size: if behaviour() == "bad-plan" { 0 } else { 65536 }, codec: String::new() }
    }

    fn allocate(&self, chunks: Vec<Chunk>) -> Result<Vec<u64>, Error> {
        let mut offsets: Vec<u64> = chunks.iter().map(|chunk| chunk.start).collect();
        if behaviour() == "few-offsets" {
            offsets.pop();
        }
        Ok(offsets)
    }

    fn finish(&self) -> Result<Ending, Error> {
        let length = if behaviour() == "large-finish" { (4 << 20) + 1 } else { 512 };
        Ok(Ending { writes: vec![Write { offset: 0, bytes: vec![1; length] }], size: 1 << 20, next: false })
    }
}

fn endless() -> ! {
    let mut n = 0u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

fn trap() -> ! {
    #[cfg(target_arch = "wasm32")]
    std::arch::wasm32::unreachable();
    #[cfg(not(target_arch = "wasm32"))]
    std::process::abort();
}

fn deeper(n: u64) -> u64 {
    if black_box(n) == u64::MAX { 0 } else { deeper(n + 1).wrapping_mul(3) ^ black_box(n) }
}

/// Past the end, overlapping, descending, empty, from a source that does not exist.
fn lies() -> Vec<Extent> {
    let data = |start, length, offset| Extent {
        start,
        length,
        kind: ExtentKind::Data(Placement { source: 77, offset }),
    };
    vec![data(1 << 40, 0, u64::MAX), data(5, u64::MAX, 1 << 50)]
}

fn log_flood() -> ! {
    for n in 0..1_000_000 {
        witvirt_sdk::log::write(2, &format!("line {n}\x1b[31m"), &[("k\n".to_owned(), "v".repeat(10_000))]);
    }
    trap()
}

fn hostile_error() -> Error {
    let mut error = Error::new(ErrorKind::Corrupt, format!("\x1b[2J{}", "x".repeat(100_000)));
    for n in 0..100 {
        error = error.with(&format!("key\n{n}"), "v".repeat(10_000));
    }
    error
}

witvirt_sdk::lifecycle!(Hostile, bindings);
bindings::export!(Hostile with_types_in bindings);
