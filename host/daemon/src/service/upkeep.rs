//! Keeping the store in order: removing what nobody uses, mending what was altered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use witvirt_core::Digest;
use witvirt_disk::CollectRules;

use super::{Service, blocking};
use crate::api::Error;
use crate::api::image::{CollectRequest, CollectedImage};
use crate::config::Span;

/// How often images are removed by the config's rules.
const ROUND: Duration = Duration::from_secs(3600);

/// How long an image has to be unused, unless the config says so.
const UNUSED_FOR: Duration = Duration::from_secs(30 * 86_400);

impl Service {
    /// Removes images that no machine uses.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn collect_images(
        self: &Arc<Self>,
        request: CollectRequest,
    ) -> Result<Vec<CollectedImage>, Error> {
        let rules = CollectRules {
            unused_for: request.unused_for.map_or(Duration::ZERO, |span| span.0),
            keep_free: request.keep_free.map(|size| size.get()),
            named: request.all,
            dry_run: request.dry_run,
        };
        let service = Arc::clone(self);
        blocking(move || {
            let store = &service.resources().store;
            let removed = store.collect(&rules, || Ok(service.images_in_use()))?;
            Ok(removed
                .into_iter()
                .map(|image| CollectedImage {
                    digest: image.digest,
                    names: image.names,
                    allocated: image.allocated,
                    last_used: image.last_used,
                })
                .collect())
        })
        .await?
    }

    /// Images below the disks of machines, and those that machines will be made of. Blocks.
    fn images_in_use(&self) -> BTreeSet<Digest> {
        let mut images = BTreeSet::new();
        for status in self.machines().list() {
            let Ok(detail) = self.machines().inspect(&status.name) else { continue };
            let disks = detail.spec.map(|spec| spec.disks).unwrap_or_default();
            images.extend(disks.iter().filter_map(|disk| self.image_below(&status.name, disk)));
        }
        images
    }

    /// Removes images by the rules of the config now and then, for as long as the daemon lives.
    pub(crate) async fn keep_collecting(self: Arc<Self>) {
        let Some(rules) = self.config().collect else { return };
        let unused_for = rules.unused_for.unwrap_or(Span(UNUSED_FOR));
        let request = CollectRequest {
            unused_for: Some(unused_for),
            keep_free: rules.keep_free,
            all: rules.all,
            dry_run: false,
        };
        loop {
            tokio::time::sleep(ROUND).await;
            match self.collect_images(request.clone()).await {
                Ok(removed) => {
                    for image in removed {
                        tracing::info!(image = %image.digest, bytes = image.allocated, "removed an unused image");
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot remove unused images"),
            }
        }
    }
}
