//! `witvirt image verify` and `gc`.

use std::process::ExitCode;

use serde_json::json;
use witvirt_core::ByteSize;

use super::Context;
use super::output::{self, Paint};
use super::progress::Bar;
use crate::api::image::{CheckReport, CollectRequest, CollectedImage, Image};
use crate::client::encode;

/// Hashes images again, one after the other; fails when one is not what was imported.
pub(super) async fn verify(context: &Context, images: Vec<String>, all: bool) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let images = match all {
        true => {
            let stored: Vec<Image> = client.get("/v1/images").await?;
            stored.into_iter().map(|image| image.digest.to_string()).collect()
        }
        false => images,
    };
    let mut results = Vec::new();
    for image in images {
        let bar = Bar::new(&format!("verify {image}"));
        let path = format!("/v1/images/{}/check", encode(&image));
        let report = client.progress::<_, CheckReport>(&path, &json!({}), |line| bar.update(line)).await?;
        if !context.json() {
            let paint = Paint::stdout();
            let verdict = match report.findings.first() {
                Some(finding) => format!("{} {}", paint.red("bad:"), output::clean(&finding.message)),
                None => paint.green("good"),
            };
            output::print(&format!("{}: {verdict}\n", output::clean(&image)))?;
        }
        results.push((image, report));
    }
    let good = results.iter().all(|(_, report)| report.good);
    if context.json() {
        let list: Vec<_> = results
            .iter()
            .map(
                |(image, report)| json!({ "image": image, "good": report.good, "findings": report.findings }),
            )
            .collect();
        output::json(&list)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Removes what nobody uses.
pub(super) async fn collect(context: &Context, request: CollectRequest) -> anyhow::Result<()> {
    let removed: Vec<CollectedImage> = context.client()?.post("/v1/images/collect", &request).await?;
    if context.json() {
        return output::json(&removed);
    }
    for image in &removed {
        let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
        let line = format!("{} {} {}", image.digest.short(), ByteSize(image.allocated), names.join(","));
        output::print(&format!("{}\n", line.trim_end()))?;
    }
    let total = ByteSize(removed.iter().map(|image| image.allocated).sum());
    let verb = if request.dry_run { "would be freed" } else { "freed" };
    let images = if removed.len() == 1 { "image" } else { "images" };
    output::print(&format!("{} {images}, {total} {verb}\n", removed.len()))
}
