//! Macros between the traits of this module and the bindings of a plugin's world.

/// Implements the exported `layout` interface of the bindings in `$bindings` by [`crate::artifact::Reader`] of `$plugin`.
#[macro_export]
macro_rules! artifact_layout {
    ($plugin:ty, $bindings:ident) => {
        const _: () = {
            use $bindings::exports::witvirt::artifact::layout as wit;
            use $crate::artifact as sdk;

            fn manifest(manifest: wit::Manifest) -> sdk::Manifest {
                sdk::Manifest { media_type: manifest.media_type, text: manifest.text }
            }

            fn stored(stored: sdk::Stored) -> wit::Stored {
                wit::Stored {
                    blobs: stored.blobs.iter().map(|digest| digest.to_string()).collect(),
                    encoding: stored.encoding,
                    member: stored.member,
                    length: stored.length,
                    digest: stored.digest.map(|digest| digest.to_string()),
                }
            }

            fn disk(disk: sdk::Disk) -> wit::Disk {
                let content = match disk.content {
                    sdk::DiskContent::Whole(places) => {
                        wit::DiskContent::Whole(places.into_iter().map(stored).collect())
                    }
                    sdk::DiskContent::Chunks { size, chunks } => {
                        let chunk = |chunk: sdk::ArtifactChunk| wit::Chunk {
                            offset: chunk.offset,
                            content: stored(chunk.content),
                        };
                        wit::DiskContent::Chunks(wit::Chunked {
                            size,
                            chunks: chunks.into_iter().map(chunk).collect(),
                        })
                    }
                };
                wit::Disk { name: disk.name, format: disk.format, content }
            }

            impl wit::Guest for $plugin {
                fn layouts() -> Vec<String> {
                    <$plugin as sdk::Reader>::layouts()
                }

                fn probe(document: wit::Manifest) -> Option<wit::ProbeResult> {
                    <$plugin as sdk::Reader>::probe(&manifest(document)).map(|claim| wit::ProbeResult {
                        confidence: claim.confidence,
                        layout: claim.layout,
                        version: claim.version,
                    })
                }

                fn needs(document: wit::Manifest, options: String) -> Result<Vec<String>, $crate::Error> {
                    let options = sdk::ReadOptions::parse(&options)?;
                    let digests = <$plugin as sdk::Reader>::needs(&manifest(document), &options)?;
                    Ok(digests.iter().map(|digest| digest.to_string()).collect())
                }

                fn interpret(
                    document: wit::Manifest,
                    blobs: Vec<wit::Blob>,
                    options: String,
                ) -> Result<wit::Plan, $crate::Error> {
                    let options = sdk::ReadOptions::parse(&options)?;
                    let blobs = blobs
                        .into_iter()
                        .map(|blob| Ok(($crate::artifact::digest(&blob.digest)?, blob.content)))
                        .collect::<Result<Vec<_>, $crate::Error>>()?;
                    let plan = <$plugin as sdk::Reader>::interpret(&manifest(document), &blobs, &options)?;
                    let file = |file: sdk::File| wit::File {
                        role: file.role,
                        name: file.name,
                        content: stored(file.content),
                    };
                    Ok(wit::Plan {
                        disks: plan.disks.into_iter().map(disk).collect(),
                        files: plan.files.into_iter().map(file).collect(),
                        facts: plan.facts,
                    })
                }
            }
        };
    };
}

/// Implements the exported `publish` interface of the bindings in `$bindings` by [`crate::artifact::Publisher`] of
/// `$plugin`.
#[macro_export]
macro_rules! artifact_publisher {
    ($plugin:ty, $bindings:ident) => {
        const _: () = {
            use $bindings::exports::witvirt::artifact::publish as wit;
            use $crate::artifact as sdk;

            fn request(order: wit::Request) -> Result<sdk::PublishRequest, $crate::Error> {
                Ok(sdk::PublishRequest {
                    layout: order.layout,
                    format: order.format,
                    virtual_size: order.virtual_size,
                    architecture: order.architecture,
                    os: order.os,
                    created: order.created,
                    inputs: order.inputs.into_iter().map(|input| (input.role, input.size)).collect(),
                    options: sdk::json(&order.options)?,
                })
            }

            fn packed(blobs: Vec<wit::Packed>) -> Result<Vec<sdk::Packed>, $crate::Error> {
                let packed = |blob: wit::Packed| {
                    Ok(sdk::Packed {
                        digest: sdk::digest(&blob.digest)?,
                        size: blob.size,
                        content_digest: sdk::digest(&blob.content_digest)?,
                        content_size: blob.content_size,
                        id: blob.id,
                    })
                };
                blobs.into_iter().map(packed).collect()
            }

            impl wit::Guest for $plugin {
                fn prepare(order: wit::Request) -> Result<Vec<wit::Packing>, $crate::Error> {
                    let packings = <$plugin as sdk::Publisher>::prepare(&request(order)?)?;
                    let packing = |packing: sdk::Packing| wit::Packing {
                        id: packing.id,
                        role: packing.role,
                        format: packing.format,
                        member: packing.member.map(|entry| wit::TarEntry {
                            path: entry.path,
                            uid: entry.uid,
                            gid: entry.gid,
                            mode: entry.mode,
                        }),
                        compression: packing.compression,
                    };
                    Ok(packings.into_iter().map(packing).collect())
                }

                fn documents(
                    order: wit::Request,
                    blobs: Vec<wit::Packed>,
                ) -> Result<Vec<wit::Document>, $crate::Error> {
                    let documents =
                        <$plugin as sdk::Publisher>::documents(&request(order)?, &packed(blobs)?)?;
                    let document = |document: sdk::SmallBlob| wit::Document {
                        id: document.id,
                        content: document.content,
                    };
                    Ok(documents.into_iter().map(document).collect())
                }

                fn compose(
                    order: wit::Request,
                    blobs: Vec<wit::Packed>,
                ) -> Result<wit::Composed, $crate::Error> {
                    let manifest = <$plugin as sdk::Publisher>::compose(&request(order)?, &packed(blobs)?)?;
                    Ok(wit::Composed { media_type: manifest.media_type, text: manifest.text })
                }
            }
        };
    };
}
