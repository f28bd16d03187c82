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

use bindings::exports::witvirt::disk::format;
use bindings::witvirt::disk::io::Source;
use witvirt_sdk::core::extent;
use witvirt_sdk::{Error, ErrorKind, Info, Plugin};

use crate::image::Image;
use crate::read::ReadAt;
use crate::{FORMAT, probe};

struct Asif;

impl Plugin for Asif {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description:
                "Apple disk images (.dmg): UDRO, UDZO, UDBZ, ULFO, ULMO and UDCO; refuses encrypted \
                          images, segments, and what lies past the end of the file"
                    .to_owned(),
            settings_schema: None,
        }
    }

    fn configure(settings: &str) -> Result<(), Error> {
        witvirt_sdk::no_settings(settings)
    }
}

impl ReadAt for Source {
    fn size(&self) -> u64 {
        Source::size(self)
    }

    fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, Error> {
        Source::read_at(self, offset, len)
    }
}

impl format::Guest for Asif {
    type Image = Opened;

    fn formats() -> Vec<String> {
        vec![FORMAT.to_owned()]
    }

    fn probe(head: Vec<u8>, _tail: Vec<u8>, _size: u64) -> Option<format::ProbeResult> {
        let extent::Probe { confidence, format, version } = probe::probe(&head)?;
        Some(format::ProbeResult { confidence, format, version })
    }
}

struct Opened(Image<Source>);

impl format::GuestImage for Opened {
    fn open(primary: Source, options: String) -> Result<format::Image, Error> {
        check_format(&options)?;
        let image = Image::open(primary)?;
        Ok(format::Image::new(Self(image)))
    }

    fn geometry(&self) -> format::Geometry {
        let extent::Geometry { virtual_size, cluster_size, logical_sector } = self.0.geometry();
        format::Geometry { virtual_size, cluster_size, logical_sector }
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.0.facts()
    }

    fn references(&self) -> Vec<format::Reference> {
        Vec::new()
    }

    fn attach(&self, id: u32, _content: Source) -> Result<(), Error> {
        Err(Error::new(ErrorKind::NotFound, "the image names no other file").with("reference", id))
    }

    fn extents(&self, start: u64, length: u64, max: u32) -> Result<format::Page, Error> {
        let page = self.0.extents(start, length, max)?;
        Ok(format::Page { extents: page.extents.into_iter().map(extent).collect(), next: page.next })
    }

    fn decode(&self, codec: String, _data: Vec<u8>, _decoded_length: u32) -> Result<Vec<u8>, Error> {
        Err(Error::new(ErrorKind::Unsupported, "ASIF images are not encoded").with("codec", codec))
    }

    fn check(&self) -> Result<Vec<format::Finding>, Error> {
        let findings = self.0.check();
        Ok(findings.into_iter().map(finding).collect())
    }
}

#[derive(serde::Deserialize)]
struct OpenOptions {
    format: Option<String>,
}

fn check_format(options: &str) -> Result<(), Error> {
    let options: OpenOptions = serde_json::from_str(options)
        .map_err(|error| Error::new(ErrorKind::InvalidInput, format!("the options to open with: {error}")))?;
    match options.format.as_deref() {
        None | Some(FORMAT) => Ok(()),
        Some(other) => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("this plugin reads asif, not \"{}\"", other.escape_debug()),
        )),
    }
}

fn finding(finding: extent::Finding) -> format::Finding {
    let extent::Finding { severity, code, message, offset } = finding;
    format::Finding { severity, code, message, offset }
}

fn extent(extent: extent::Extent) -> format::Extent {
    use extent::ExtentKind as Core;
    use format::ExtentKind as Wit;
    let kind = match extent.kind {
        Core::Zero => Wit::Zero,
        Core::Data { source, offset } => Wit::Data(format::Placement { source, offset }),
        Core::Encoded(encoded) => {
            let extent::Encoded { codec, source, offset, length, decoded_length, skip } = encoded;
            Wit::Encoded(format::Encoded { codec, source, offset, length, decoded_length, skip })
        }
        Core::Literal(bytes) => Wit::Literal(bytes),
        Core::Parent => Wit::Parent,
        Core::Unallocated => Wit::Unallocated,
    };
    format::Extent { start: extent.start, length: extent.length, kind }
}

witvirt_sdk::lifecycle!(Asif, bindings);
bindings::export!(Asif with_types_in bindings);
