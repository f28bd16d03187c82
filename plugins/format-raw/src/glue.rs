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
use witvirt_sdk::core::extent;
use witvirt_sdk::{Error, ErrorKind, Info, Plugin};

use crate::FORMAT;
use crate::image::Raw;

struct RawPlugin;

impl Plugin for RawPlugin {
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

impl Guest for RawPlugin {
    type Image = Raw;

    fn formats() -> Vec<String> {
        vec![FORMAT.to_owned()]
    }

    fn probe(_head: Vec<u8>, _tail: Vec<u8>, _size: u64) -> Option<ProbeResult> {
        None
    }
}

impl GuestImage for Raw {
    fn open(primary: Source, _options: String) -> Result<Image, Error> {
        Raw::new(primary.size()).map(Image::new)
    }

    fn geometry(&self) -> Geometry {
        let extent::Geometry { virtual_size, cluster_size, logical_sector } = Raw::geometry(self);
        Geometry { virtual_size, cluster_size, logical_sector }
    }

    fn facts(&self) -> Vec<(String, String)> {
        Raw::facts(self)
    }

    fn references(&self) -> Vec<Reference> {
        Vec::new()
    }

    fn attach(&self, id: u32, _content: Source) -> Result<(), Error> {
        Err(Error::new(ErrorKind::NotFound, "a raw image names no other file").with("reference", id))
    }

    fn extents(&self, start: u64, length: u64, max: u32) -> Result<Page, Error> {
        let page = Raw::extents(self, start, length, max);
        let extents = page.extents.into_iter().map(|extent| Extent {
            start: extent.start,
            length: extent.length,
            kind: match extent.kind {
                extent::ExtentKind::Data { source, offset } => ExtentKind::Data(Placement { source, offset }),
                _ => ExtentKind::Unallocated,
            },
        });
        Ok(Page { extents: extents.collect(), next: page.next })
    }

    fn decode(&self, codec: String, _data: Vec<u8>, _decoded_length: u32) -> Result<Vec<u8>, Error> {
        Err(Error::new(ErrorKind::Unsupported, "raw images are not encoded").with("codec", codec))
    }

    fn check(&self) -> Result<Vec<Finding>, Error> {
        Ok(Vec::new())
    }
}

witvirt_sdk::lifecycle!(RawPlugin, bindings);
bindings::export!(RawPlugin with_types_in bindings);
