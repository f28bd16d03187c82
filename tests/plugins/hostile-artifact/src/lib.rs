//! An artifact layout that answers as its setting "behaviour" says. Without one it takes the first layer for a raw disk.
//!
//! Built for WebAssembly only: no native linker takes the names that a component exports.
#![cfg(target_family = "wasm")]

use std::sync::OnceLock;

mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../../wit/types", "../../../wit/artifact"],
        world: "witvirt:artifact/artifact-layout-publisher",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use bindings::exports::witvirt::artifact::layout::{
    Blob, Chunk, Chunked, Disk, DiskContent, File, Guest, Manifest, Plan, ProbeResult, Stored,
};
use bindings::exports::witvirt::artifact::publish::{
    Composed, Document, Guest as Publish, Packed, Packing, Request, TarEntry,
};
use witvirt_sdk::{Error, ErrorKind, Info, Plugin};

static BEHAVIOUR: OnceLock<String> = OnceLock::new();

fn behaviour() -> &'static str {
    BEHAVIOUR.get().map(String::as_str).unwrap_or_default()
}

struct Hostile;

impl Plugin for Hostile {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: "6.6.6".to_owned(),
            description: "answers as told".to_owned(),
            settings_schema: None,
        }
    }

    fn configure(settings: &str) -> Result<(), Error> {
        let settings: serde_json::Value = serde_json::from_str(settings).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, format!("settings are not JSON: {error}"))
        })?;
        let name = settings["behaviour"].as_str().unwrap_or_default();
        BEHAVIOUR.set(name.to_owned()).map_err(|_| Error::new(ErrorKind::Other, "configured twice"))
    }
}

fn first_layer(document: &Manifest) -> String {
    let manifest: serde_json::Value = serde_json::from_str(&document.text).unwrap_or_default();
    manifest["layers"][0]["digest"].as_str().unwrap_or_default().to_owned()
}

fn stored(digest: String) -> Stored {
    Stored { blobs: vec![digest], encoding: String::new(), member: None, length: None, digest: None }
}

fn foreign() -> String {
    format!("sha256:{}", "5e".repeat(32))
}

impl Guest for Hostile {
    fn layouts() -> Vec<String> {
        match behaviour() {
            "no-layouts" => Vec::new(),
            _ => vec!["hostile".to_owned()],
        }
    }

    fn probe(_: Manifest) -> Option<ProbeResult> {
        let result = |confidence, layout: &str| {
            Some(ProbeResult { confidence, layout: layout.to_owned(), version: Some("v\x1b[2J".to_owned()) })
        };
        match behaviour() {
            "bad-confidence" => result(101, "hostile"),
            "foreign-layout" => result(50, "containerdisk"),
            "loop" => loop {
                std::hint::black_box(());
            },
            _ => result(50, "hostile"),
        }
    }

    fn needs(document: Manifest, _: String) -> Result<Vec<String>, Error> {
        match behaviour() {
            "many-needs" => Ok(vec![first_layer(&document); 17]),
            "foreign-need" => Ok(vec![foreign()]),
            "bad-digest" => Ok(vec!["sha256:\x1b[2J".to_owned()]),
            "other-digest" => Ok(vec![format!("sha512:{}", "00".repeat(64))]),
            _ => Ok(Vec::new()),
        }
    }

    fn interpret(document: Manifest, _: Vec<Blob>, options: String) -> Result<Plan, Error> {
        let digest = first_layer(&document);
        let disk = |content| Disk { name: "disk\n".to_owned(), format: Some("raw".to_owned()), content };
        let mut plan = Plan {
            disks: vec![disk(DiskContent::Whole(vec![stored(digest.clone())]))],
            files: Vec::new(),
            facts: vec![("options\n".to_owned(), options)],
        };
        let file = File { role: "x".to_owned(), name: "y".to_owned(), content: stored(digest.clone()) };
        match behaviour() {
            "loop-in-plan" => loop {
                std::hint::black_box(());
            },
            "panic" => panic!("layer 7 makes no sense"),
            "lying-digest" => plan.disks[0].content = DiskContent::Whole(vec![stored(foreign())]),
            "overlap" => {
                let chunk = |offset| Chunk {
                    offset,
                    content: Stored {
                        length: Some(10),
                        encoding: "gzip".to_owned(),
                        ..stored(digest.clone())
                    },
                };
                let chunks = vec![chunk(0), chunk(9)];
                plan.disks[0].content = DiskContent::Chunks(Chunked { size: 100, chunks });
            }
            "many-disks" => plan.disks = vec![plan.disks[0].clone(); 17],
            "many-files" => plan.files = vec![file; 65],
            "many-facts" => plan.facts = vec![(String::new(), String::new()); 65],
            "many-places" => {
                plan.disks[0].content = DiskContent::Whole(vec![stored(digest); 257]);
            }
            "many-blobs" => {
                let many = Stored { blobs: vec![digest.clone(); 16_385], ..stored(digest) };
                plan.disks[0].content = DiskContent::Whole(vec![many]);
            }
            "long-encoding" => {
                let long = Stored { encoding: "x".repeat(65), ..stored(digest) };
                plan.disks[0].content = DiskContent::Whole(vec![long]);
            }
            "long-member" => {
                let long = Stored { member: Some("x".repeat(4097)), ..stored(digest) };
                plan.disks[0].content = DiskContent::Whole(vec![long]);
            }
            "error" => return Err(Error::new(ErrorKind::Unsupported, "not today\x07")),
            _ => {}
        }
        Ok(plan)
    }
}

impl Publish for Hostile {
    fn prepare(order: Request) -> Result<Vec<Packing>, Error> {
        let packing = Packing {
            id: "disk".to_owned(),
            role: "disk".to_owned(),
            format: Some("raw".to_owned()),
            member: None,
            compression: order.layout,
        };
        match behaviour() {
            "many-packings" => Ok(vec![packing; 65]),
            "long-path" => {
                let member = TarEntry { path: "x".repeat(101), uid: 0, gid: 0, mode: 0 };
                Ok(vec![Packing { member: Some(member), ..packing }])
            }
            _ => Ok(vec![packing]),
        }
    }

    fn documents(_: Request, _: Vec<Packed>) -> Result<Vec<Document>, Error> {
        let document = |size| Document { id: "config".to_owned(), content: vec![b' '; size] };
        match behaviour() {
            "many-documents" => Ok(vec![document(0); 17]),
            "large-document" => Ok(vec![document((1 << 20) + 1)]),
            _ => Ok(vec![document(2)]),
        }
    }

    fn compose(order: Request, blobs: Vec<Packed>) -> Result<Composed, Error> {
        let size = if behaviour() == "large-manifest" { (4 << 20) + 1 } else { 0 };
        let digests: Vec<String> = blobs.into_iter().map(|blob| blob.digest).collect();
        let text = format!("{}{}", order.created, digests.join(" "));
        Ok(Composed { media_type: "x/y".to_owned(), text: text + &" ".repeat(size) })
    }
}

witvirt_sdk::lifecycle!(Hostile, bindings);
bindings::export!(Hostile with_types_in bindings);
