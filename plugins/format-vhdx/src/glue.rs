mod bindings {
    #![allow(missing_docs)]
    wit_bindgen::generate!({
        path: ["../../wit/types", "../../wit/disk"],
        world: "witvirt:disk/disk-format-writer",
        with: {
            "witvirt:types/errors@0.1.0": witvirt_sdk::errors,
            "witvirt:types/log@0.1.0": witvirt_sdk::log,
        },
    });
}

use std::cell::RefCell;

use bindings::exports::witvirt::disk::{format, layout};
use bindings::witvirt::disk::io::Source;
use witvirt_sdk::core::extent;
use witvirt_sdk::{Error, ErrorKind, Info, Plugin};

use crate::image::Image;
use crate::layout::Writer;
use crate::read::ReadAt;
use crate::{FORMAT, probe};

struct Vhdx;

impl Plugin for Vhdx {
    fn describe() -> Info {
        Info {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "vhdx disk images: reads fixed, dynamic and differencing ones and replays their logs in memory, \
                          writes dynamic ones; refuses unknown required features, and images cut short"
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

impl format::Guest for Vhdx {
    type Image = Opened;

    fn formats() -> Vec<String> {
        vec![FORMAT.to_owned()]
    }

    fn probe(head: Vec<u8>, _tail: Vec<u8>, _size: u64) -> Option<format::ProbeResult> {
        let extent::Probe { confidence, format, version } = probe::probe(&head)?;
        Some(format::ProbeResult { confidence, format, version })
    }
}

struct Opened(RefCell<Image<Source>>);

impl format::GuestImage for Opened {
    fn open(primary: Source, options: String) -> Result<format::Image, Error> {
        check_format(&options)?;
        let image = Image::open(primary)?;
        Ok(format::Image::new(Self(RefCell::new(image))))
    }

    fn geometry(&self) -> format::Geometry {
        let extent::Geometry { virtual_size, cluster_size, logical_sector } = self.0.borrow().geometry();
        format::Geometry { virtual_size, cluster_size, logical_sector }
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.0.borrow().facts()
    }

    fn references(&self) -> Vec<format::Reference> {
        self.0.borrow().references().into_iter().map(reference).collect()
    }

    fn attach(&self, id: u32, _content: Source) -> Result<(), Error> {
        Err(Error::new(ErrorKind::NotFound, "a vhdx image has no files to attach").with("reference", id))
    }

    fn extents(&self, start: u64, length: u64, max: u32) -> Result<format::Page, Error> {
        let page = self.0.borrow_mut().extents(start, length, max)?;
        Ok(format::Page { extents: page.extents.into_iter().map(extent).collect(), next: page.next })
    }

    fn decode(&self, codec: String, _data: Vec<u8>, _decoded_length: u32) -> Result<Vec<u8>, Error> {
        Err(Error::new(ErrorKind::Unsupported, "nothing in a vhdx image is encoded").with("codec", codec))
    }

    fn check(&self) -> Result<Vec<format::Finding>, Error> {
        let findings = self.0.borrow().check()?;
        Ok(findings.into_iter().map(finding).collect())
    }
}

impl layout::Guest for Vhdx {
    type Writer = Writing;
}

struct Writing(RefCell<Writer>);

impl layout::GuestWriter for Writing {
    fn create(request: layout::CreateRequest) -> Result<layout::Writer, Error> {
        let writer =
            Writer::create(&request.format, request.virtual_size, &request.options, request.backing)?;
        Ok(layout::Writer::new(Self(RefCell::new(writer))))
    }

    fn plan(&self) -> layout::Plan {
        let plan = self.0.borrow().plan();
        layout::Plan { chunk_size: plan.chunk_size, codec: plan.codec }
    }

    fn allocate(&self, chunks: Vec<layout::Chunk>) -> Result<Vec<u64>, Error> {
        let mut writer = self.0.borrow_mut();
        chunks.iter().map(|chunk| writer.allocate(&core_chunk(chunk))).collect()
    }

    fn finish(&self) -> Result<layout::Ending, Error> {
        let ending = self.0.borrow_mut().finish()?;
        let writes =
            ending.writes.into_iter().map(|write| layout::Write { offset: write.offset, bytes: write.bytes });
        Ok(layout::Ending { writes: writes.collect(), size: ending.size, next: ending.next })
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
            format!("this plugin reads vhdx, not \"{}\"", other.escape_debug()),
        )),
    }
}

fn core_chunk(chunk: &layout::Chunk) -> witvirt_sdk::core::format::Chunk {
    let layout::Chunk { start, length, stored, encoded } = *chunk;
    witvirt_sdk::core::format::Chunk { start, length, stored, encoded }
}

fn reference(reference: extent::Reference) -> format::Reference {
    let extent::Reference { id, role, name, format_hint, required } = reference;
    format::Reference { id, role, name, format_hint, required }
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

witvirt_sdk::lifecycle!(Vhdx, bindings);
bindings::export!(Vhdx with_types_in bindings);
