//! Images that were altered on disk, fetched again from where they came.

use std::sync::Arc;

use witvirt_core::Digest;
use witvirt_disk::{Error as DiskError, ErrorKind as DiskErrorKind, ImageRecord, Imported, Origin};

use super::place::Place;
use super::{As, Import, invalid};
use crate::api::Error;
use crate::api::image::{ImportReply, ImportRequest};
use crate::service::Service;
use crate::service::watch::Watch;

impl Service {
    /// Fetches an image in quarantine again, from the last server or registry first that it came from, with the operator's
    /// credentials: whoever imported it is not here. Nothing but the same content is accepted.
    ///
    /// # Errors
    /// The last attempt's; `Unsupported` when it never came from one.
    pub(in crate::service) fn refetch(
        self: &Arc<Self>,
        digest: &Digest,
        record: &ImageRecord,
    ) -> witvirt_disk::Result<()> {
        let message = format!("image {digest} came from no server and no registry");
        let mut failed = DiskError::new(DiskErrorKind::Unsupported, message);
        for origin in record.origins().rev() {
            let Some(request) = request_of(origin) else { continue };
            match self.fetch_again(digest, &request) {
                Ok(()) => return Ok(()),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn fetch_again(self: &Arc<Self>, digest: &Digest, request: &ImportRequest) -> witvirt_disk::Result<()> {
        let watch = Arc::new(Watch::default());
        let job = Import { service: self, request, name: None, watch: &watch, who: As::Operator };
        let fetched = Place::parse(&request.source).and_then(|place| match place {
            Place::Http(url) => job.import_url(&url),
            Place::Registry(reference) => job.import_artifact(&reference),
            Place::Here(_) => Err(invalid("a file of this host is not fetched")),
        });
        let told = |error: Error| DiskError::new(DiskErrorKind::Unavailable, error.message);
        let ImportReply { image, existed, .. } = fetched.map_err(told)?;
        let store = &self.resources().store;
        let Some(record) = store.inspect(&image.digest.to_string())?.record else {
            return Err(DiskError::new(DiskErrorKind::NotFound, "the image is gone again"));
        };
        store.accept_restored(digest, Imported { record, existed }).map(drop)
    }
}

/// What asks for an origin again; `None` for a file, an upload, and a URL whose query was not recorded.
fn request_of(origin: &Origin) -> Option<ImportRequest> {
    let path = origin.source.path.as_str();
    let format = Some(origin.source.format.clone());
    if path.starts_with("http://") || path.starts_with("https://") {
        let whole = !path.contains('?');
        let member = origin.member.clone();
        return whole.then(|| ImportRequest {
            source: path.to_owned(),
            format,
            member,
            ..ImportRequest::default()
        });
    }
    if !path.starts_with("docker://") {
        return None;
    }
    // "docker://HOST/NAME:TAG@DIGEST platform linux/arm64 layout tart member a b", the words where they were given.
    let take = |text: &str, word: &str| -> (String, Option<String>) {
        let split = text.split_once(&format!(" {word} "));
        split.map_or((text.to_owned(), None), |(before, value)| (before.to_owned(), Some(value.to_owned())))
    };
    let (rest, member) = take(path, "member");
    let (rest, layout) = take(&rest, "layout");
    let (source, platform) = take(&rest, "platform");
    Some(ImportRequest { source, format, member, layout, platform, ..ImportRequest::default() })
}

#[cfg(test)]
mod tests {
    use witvirt_disk::{Origin, SourceRecord};

    use super::request_of;

    fn origin(path: &str, member: Option<&str>) -> Origin {
        let source = SourceRecord {
            path: path.to_owned(),
            format: "raw".to_owned(),
            plugin: "p".to_owned(),
            plugin_version: "1".to_owned(),
            size: 1,
            digest: None,
        };
        let (chain, facts, transport, machine, files) = Default::default();
        Origin { source, chain, facts, transport, member: member.map(str::to_owned), machine, files }
    }

    #[test]
    fn origins_are_asked_for_as_they_were() {
        let path = "docker://registry.example/a:1@sha256:00 platform linux/arm64 layout containerdisk member disk/a b";
        let request = request_of(&origin(path, Some("disk/a b"))).unwrap();
        assert_eq!(request.source, "docker://registry.example/a:1@sha256:00");
        assert_eq!(
            (request.platform.as_deref(), request.layout.as_deref()),
            (Some("linux/arm64"), Some("containerdisk"))
        );
        assert_eq!((request.member.as_deref(), request.format.as_deref()), (Some("disk/a b"), Some("raw")));
        let request = request_of(&origin("docker://registry.example/a@sha256:00", Some("disk/x"))).unwrap();
        assert_eq!((request.member, request.layout, request.platform), (None, None, None));
        let request = request_of(&origin("https://host.example/a.ova", Some("a.vmdk"))).unwrap();
        assert_eq!(
            (request.source.as_str(), request.member.as_deref()),
            ("https://host.example/a.ova", Some("a.vmdk"))
        );
        for none in ["https://host.example/a?(query 0011)", "/srv/a.raw", "upload of a"] {
            assert!(request_of(&origin(none, None)).is_none(), "{none}");
        }
    }
}
