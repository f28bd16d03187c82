//! Keeping the store in order: removing what nobody uses.

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
            let removed = store.collect(&rules, || service.images_in_use())?;
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

    /// Images that machines will be made of. Those below disks that exist are known to the store afterwards. Blocks.
    ///
    /// # Errors
    /// When anything cannot be read that could name an image: what is unknown must not count as unused.
    fn images_in_use(&self) -> Result<BTreeSet<Digest>, witvirt_disk::Error> {
        self.note_disks()?;
        Ok(self.wanted_images()?.into_iter().map(|(_, digest)| digest).collect())
    }

    /// Removes old unfinished work, and images by the rules of the config, now and then, for as long as the daemon lives.
    pub(crate) async fn keep_collecting(self: Arc<Self>) {
        loop {
            tokio::time::sleep(ROUND).await;
            let Some(rules) = self.config().collect else {
                self.tidy_store().await;
                continue;
            };
            let request = CollectRequest {
                unused_for: Some(rules.unused_for.unwrap_or(Span(UNUSED_FOR))),
                keep_free: rules.keep_free,
                all: rules.all,
                dry_run: false,
            };
            match self.collect_images(request).await {
                Ok(removed) => {
                    for image in removed {
                        tracing::info!(image = %image.digest, bytes = image.allocated, "removed an unused image");
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot remove unused images"),
            }
        }
    }

    async fn tidy_store(self: &Arc<Self>) {
        let service = Arc::clone(self);
        let tidied = blocking(move || service.resources().store.tidy()).await;
        if let Err(error) = tidied.and_then(|tidied| Ok(tidied?)) {
            tracing::warn!(%error, "cannot remove what was left unfinished in the store");
        }
    }
}
