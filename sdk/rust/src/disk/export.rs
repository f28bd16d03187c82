//! Macros between the traits of this module and the bindings of a plugin's world.

/// Implements the exported `format` interface of the bindings in `$bindings` by [`crate::disk::Format`] of `$plugin`.
#[macro_export]
macro_rules! disk_format {
    ($plugin:ty, $bindings:ident) => {
        const _: () = {
            use ::std::cell::RefCell;
            use ::std::{option::Option, result::Result, string::String, vec::Vec};

            use $bindings::exports::witvirt::disk::format as wit;
            use $bindings::witvirt::disk::io::Source;
            use $crate::core::extent as core;
            use $crate::disk::{self as sdk, ImageReader as _};

            impl sdk::ReadAt for Source {
                fn size(&self) -> u64 {
                    Source::size(self)
                }

                fn read_at(&self, offset: u64, len: u32) -> Result<Vec<u8>, $crate::Error> {
                    Source::read_at(self, offset, len)
                }
            }

            type Image = <$plugin as sdk::Format>::Image<Source>;

            pub struct Opened(RefCell<Image>);

            impl wit::Guest for $plugin {
                type Image = Opened;

                fn formats() -> Vec<String> {
                    <$plugin as sdk::Format>::NAMES.iter().map(|name| String::from(*name)).collect()
                }

                fn probe(head: Vec<u8>, tail: Vec<u8>, size: u64) -> Option<wit::ProbeResult> {
                    let claim = <$plugin as sdk::Format>::probe(&head, &tail, size)?;
                    let core::Probe { confidence, format, version } = claim;
                    Some(wit::ProbeResult { confidence, format, version })
                }
            }

            impl wit::GuestImage for Opened {
                fn open(primary: Source, options: String) -> Result<wit::Image, $crate::Error> {
                    sdk::check_open_options(&options, <$plugin as sdk::Format>::NAMES)?;
                    Ok(wit::Image::new(Self(RefCell::new(Image::open(primary)?))))
                }

                fn geometry(&self) -> wit::Geometry {
                    let core::Geometry { virtual_size, cluster_size, logical_sector } =
                        self.0.borrow().geometry();
                    wit::Geometry { virtual_size, cluster_size, logical_sector }
                }

                fn facts(&self) -> Vec<(String, String)> {
                    self.0.borrow().facts()
                }

                fn references(&self) -> Vec<wit::Reference> {
                    self.0.borrow().references().into_iter().map(reference).collect()
                }

                fn attach(&self, id: u32, content: Source) -> Result<(), $crate::Error> {
                    self.0.borrow_mut().attach(id, content)
                }

                fn extents(&self, start: u64, length: u64, max: u32) -> Result<wit::Page, $crate::Error> {
                    let page = self.0.borrow_mut().extents(start, length, max)?;
                    Ok(wit::Page { extents: page.extents.into_iter().map(extent).collect(), next: page.next })
                }

                fn decode(
                    &self,
                    codec: String,
                    data: Vec<u8>,
                    decoded_length: u32,
                ) -> Result<Vec<u8>, $crate::Error> {
                    self.0.borrow().decode(&codec, &data, decoded_length)
                }

                fn check(&self) -> Result<Vec<wit::Finding>, $crate::Error> {
                    Ok(self.0.borrow_mut().check()?.into_iter().map(finding).collect())
                }
            }

            fn reference(reference: core::Reference) -> wit::Reference {
                let core::Reference { id, role, name, format_hint, required } = reference;
                wit::Reference { id, role, name, format_hint, required }
            }

            fn finding(finding: core::Finding) -> wit::Finding {
                let core::Finding { severity, code, message, offset } = finding;
                wit::Finding { severity, code, message, offset }
            }

            fn extent(extent: core::Extent) -> wit::Extent {
                use core::ExtentKind as Core;
                use wit::ExtentKind as Wit;
                let kind = match extent.kind {
                    Core::Zero => Wit::Zero,
                    Core::Data { source, offset } => Wit::Data(wit::Placement { source, offset }),
                    Core::Encoded(encoded) => {
                        let core::Encoded { codec, source, offset, length, decoded_length, skip } = encoded;
                        Wit::Encoded(wit::Encoded { codec, source, offset, length, decoded_length, skip })
                    }
                    Core::Literal(bytes) => Wit::Literal(bytes),
                    Core::Parent => Wit::Parent,
                    Core::Unallocated => Wit::Unallocated,
                };
                wit::Extent { start: extent.start, length: extent.length, kind }
            }
        };
    };
}

/// Implements the exported `layout` interface of the bindings in `$bindings` by [`crate::disk::WritableFormat`] of
/// `$plugin`.
#[macro_export]
macro_rules! disk_writer {
    ($plugin:ty, $bindings:ident) => {
        const _: () = {
            use ::std::cell::RefCell;
            use ::std::{result::Result, vec::Vec};

            use $bindings::exports::witvirt::disk::layout as wit;
            use $crate::core::format::Chunk;
            use $crate::disk::{self as sdk, ImageWriter as _};

            type Writer = <$plugin as sdk::WritableFormat>::Writer;

            pub struct Writing(RefCell<Writer>);

            impl wit::Guest for $plugin {
                type Writer = Writing;
            }

            impl wit::GuestWriter for Writing {
                fn create(request: wit::CreateRequest) -> Result<wit::Writer, $crate::Error> {
                    let wit::CreateRequest { format, virtual_size, options, backing } = request;
                    let writer = Writer::create(&format, virtual_size, &options, backing)?;
                    Ok(wit::Writer::new(Self(RefCell::new(writer))))
                }

                fn plan(&self) -> wit::Plan {
                    let plan = self.0.borrow().plan();
                    wit::Plan { chunk_size: plan.chunk_size, codec: plan.codec }
                }

                fn allocate(&self, chunks: Vec<wit::Chunk>) -> Result<Vec<u64>, $crate::Error> {
                    let mut writer = self.0.borrow_mut();
                    let mut allocate = |chunk: &wit::Chunk| {
                        let wit::Chunk { start, length, stored, encoded } = *chunk;
                        writer.allocate(&Chunk { start, length, stored, encoded })
                    };
                    chunks.iter().map(|chunk| allocate(chunk)).collect()
                }

                fn finish(&self) -> Result<wit::Ending, $crate::Error> {
                    let ending = self.0.borrow_mut().finish()?;
                    let write = |write: $crate::core::format::Write| wit::Write {
                        offset: write.offset,
                        bytes: write.bytes,
                    };
                    Ok(wit::Ending {
                        writes: ending.writes.into_iter().map(write).collect(),
                        size: ending.size,
                        next: ending.next,
                    })
                }
            }
        };
    };
}
