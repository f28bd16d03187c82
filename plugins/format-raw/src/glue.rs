mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/disk"],
        world: "witvirt:disk/disk-format",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use bindings::exports::witvirt::disk::format::{
    Extent, ExtentKind, Finding, Geometry, Guest, GuestImage, Image, Page, Placement, ProbeResult, Reference,
};
use bindings::witvirt::disk::io::Source;
use witvirt_sdk::{Error, ErrorKind, Info, Plugin};

struct Raw;

impl Plugin for Raw {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "raw disk images".to_owned(),
            settings_schema: None,
        }
    }

    fn configure(settings: &str) -> Result<(), Error> {
        witvirt_sdk::no_settings(settings)
    }
}

impl Guest for Raw {
    type Image = RawImage;

    fn formats() -> Vec<String> {
        vec!["raw".to_owned()]
    }

    fn probe(_head: Vec<u8>, _tail: Vec<u8>, _size: u64) -> Option<ProbeResult> {
        None
    }
}

struct RawImage {
    size: u64,
}

impl GuestImage for RawImage {
    fn open(primary: Source, _options: String) -> Result<Image, Error> {
        let size = primary.size();
        if size % 512 != 0 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the length of a raw image has to be a multiple of 512 bytes",
            )
            .with("length", size));
        }
        Ok(Image::new(Self { size }))
    }

    fn geometry(&self) -> Geometry {
        Geometry { virtual_size: self.size, cluster_size: 0, logical_sector: 512 }
    }

    fn facts(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }

    fn attach(&self, id: u32, _content: Source) -> Result<(), Error> {
        Err(Error::new(ErrorKind::NotFound, "a raw image names no other file").with("reference", id))
    }

    fn extents(&self, start: u64, length: u64, _max: u32) -> Result<Page, Error> {
        let end = start.saturating_add(length).min(self.size);
        let mut extents = Vec::new();
        if start < end {
            let kind = ExtentKind::Data(Placement { source: 0, offset: start });
            extents.push(Extent { start, length: end - start, kind });
        }
        Ok(Page { extents, next: None })
    }

    fn decode(&self, codec: String, _data: Vec<u8>, _decoded_length: u32) -> Result<Vec<u8>, Error> {
        Err(Error::new(ErrorKind::Unsupported, "raw images are not encoded").with("codec", codec))
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        Ok(Vec::new())
    }
}

witvirt_sdk::lifecycle!(Raw, bindings);
bindings::export!(Raw with_types_in bindings);
