//! Which plugin reads a manifest, and what it makes of it.

use std::sync::Arc;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use witvirt_core::Digest;
use witvirt_core::artifact::{ArtifactLayout, ArtifactLayouts, Claim, Descriptor, Manifest, Plan};

use super::{SMALL_BLOB, check_plan, descriptors};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// From this confidence on a claim is certain; two certain plugins contradict each other.
const CERTAIN: u8 = 60;

/// The plugin that reads a manifest, and the layout it reads it as: the one that the user names, else the one that is surest.
///
/// # Errors
/// `NotFound` for a name that no plugin knows; `Unsupported` when nobody claims the manifest, or two are certain of it;
/// `Plugin` when one breaks.
pub fn choose(
    layouts: &dyn ArtifactLayouts,
    manifest: &Manifest,
    named: Option<&str>,
) -> Result<(Arc<dyn ArtifactLayout>, String)> {
    if let Some(name) = named {
        let plugin = layouts.by_layout(name).ok_or_else(|| {
            let message = format!("no plugin reads the layout \"{}\"{}", name.escape_debug(), known(layouts));
            Error::new(ErrorKind::NotFound, message)
        })?;
        return Ok((plugin, name.to_owned()));
    }
    let mut claims: Vec<(Claim, Arc<dyn ArtifactLayout>)> = Vec::new();
    for plugin in layouts.artifact_layouts() {
        if let Some(claim) = plugin.probe(manifest)? {
            claims.push((claim, plugin));
        }
    }
    // Stable: of equals, the first in the config.
    claims.sort_by_key(|(claim, _)| std::cmp::Reverse(claim.confidence));
    if let [(first, one), (second, other), ..] = &claims[..]
        && second.confidence >= CERTAIN
        && first.layout != second.layout
    {
        let message = format!(
            "the artifact is claimed as {} by {} and as {} by {}; name its layout",
            first.layout,
            one.plugin(),
            second.layout,
            other.plugin()
        );
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let first = claims.into_iter().next();
    first.map(|(claim, plugin)| (plugin, claim.layout)).ok_or_else(|| {
        let message = format!("no plugin recognises the layout of this artifact{}", known(layouts));
        Error::new(ErrorKind::Unsupported, message)
    })
}

/// Asks `plugin` what a manifest of `layout` means, with the small blobs that it wants to see, which `fetch` gets, and checks
/// the answer. `member` is what the user says of several disks or files.
///
/// # Errors
/// What the plugin reports; `Plugin` for an answer that cannot be; what `fetch` fails with.
pub fn interpret(
    plugin: &dyn ArtifactLayout,
    layout: &str,
    manifest: &Manifest,
    member: Option<&str>,
    fetch: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>>,
    limits: &Limits,
) -> Result<Plan> {
    let blobs = descriptors(manifest)?;
    let mut options = json!({ "layout": layout });
    if let Some(member) = member {
        options["member"] = member.into();
    }
    let named = |error: Error| error.during(format!("plugin {} {}", plugin.plugin(), plugin.version()));
    let mut small = Vec::new();
    for digest in plugin.needs(manifest, &options)? {
        let blob = wanted(&blobs, digest).map_err(named)?;
        small.push((digest, verified(blob, fetch(blob)?)?));
    }
    let plan = plugin.interpret(manifest, &small, &options)?;
    check_plan(plan, &blobs, limits).map_err(named)
}

/// A blob that a plugin may see.
fn wanted(blobs: &[Descriptor], digest: Digest) -> Result<&Descriptor> {
    let blob = blobs.iter().find(|blob| blob.digest == digest).ok_or_else(|| {
        Error::new(ErrorKind::Plugin, format!("wants to see {digest}, which is not in the manifest"))
    })?;
    if blob.size > SMALL_BLOB {
        let message = format!("wants to see {digest} of {} bytes, at most {SMALL_BLOB} are shown", blob.size);
        return Err(Error::new(ErrorKind::Plugin, message));
    }
    Ok(blob)
}

fn verified(blob: &Descriptor, content: Vec<u8>) -> Result<Vec<u8>> {
    let found = Digest::from_bytes(Sha256::digest(&content).into());
    if found != blob.digest || content.len() as u64 != blob.size {
        let message = format!("{} arrived as {} bytes with the digest {found}", blob.digest, content.len());
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    Ok(content)
}

fn known(layouts: &dyn ArtifactLayouts) -> String {
    let names: Vec<String> =
        layouts.artifact_layouts().iter().flat_map(|plugin| plugin.layouts().to_vec()).collect();
    if names.is_empty() {
        return "; the config has no plugin of kind \"artifact-layout\"".to_owned();
    }
    format!("; there are: {}", names.join(", "))
}
