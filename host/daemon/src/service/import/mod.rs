//! Imports: from files of this host, HTTP servers, registries and requests' bodies.

mod artifact;
mod flight;
mod place;
mod upload;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use witvirt_core::Name;
use witvirt_disk::{
    Access, AllowedDirs, Checksum, ImageState, ImageSummary, ImportRequest as DiskImport, ImportSource,
    Reading, Unpack,
};
use witvirt_fetch::{Authorities, HttpAccess, Login, Secret};

use self::place::Place;
use super::Service;
use super::images::image;
use super::watch::{Watch, with_progress};
use crate::api::image::{ImportReply, ImportRequest, PullPolicy, RemoteAccess};
use crate::api::{Error, ErrorKind, Progress};

pub(super) use self::artifact::{Places, as_disk_error, places, registry_access};
pub(super) use self::flight::Flights;
pub use self::place::name_of;
pub(super) use self::place::{name_of_source, platform};

impl Service {
    /// Imports an image into the store. `anywhere`: the caller could read every file of this host anyway.
    pub fn import(
        self: &Arc<Self>,
        request: ImportRequest,
        anywhere: bool,
    ) -> mpsc::Receiver<Progress<ImportReply>> {
        let service = Arc::clone(self);
        with_progress("import", move |watch| service.import_now(&request, anywhere, watch))
    }

    /// The same, on this thread.
    pub(super) fn import_now(
        self: &Arc<Self>,
        request: &ImportRequest,
        anywhere: bool,
        watch: &Arc<Watch>,
    ) -> Result<ImportReply, Error> {
        let place = Place::parse(&request.source)?;
        let name = request.name.clone().map_or_else(|| place.name(), Ok)?;
        let job = Import { service: self, request, name, watch };
        match place {
            Place::Here(path) => job.import_file(&path, anywhere),
            Place::Http(url) => job.import_url(&url),
            Place::Registry(reference) => job.import_artifact(&reference),
        }
    }
}

/// One import.
struct Import<'a> {
    service: &'a Arc<Service>,
    request: &'a ImportRequest,
    name: Name,
    watch: &'a Arc<Watch>,
}

impl Import<'_> {
    fn import_file(&self, path: &Path, anywhere: bool) -> Result<ImportReply, Error> {
        if self.request.pull_policy != PullPolicy::Always {
            return Err(invalid("a pull policy is for servers and registries, not for files"));
        }
        let source = match path.is_dir() {
            true => ImportSource::Directory(path.to_owned()),
            false => ImportSource::File(path.to_owned()),
        };
        let root = if anywhere { Some(AllowedDirs::new(["/"])?) } else { None };
        let wanted = self.wanted(source)?;
        self.store(&wanted, root.as_ref(), Vec::new())
    }

    fn import_url(&self, url: &str) -> Result<ImportReply, Error> {
        let shown = place::shown(url);
        if let Some(reply) = self.without_asking(&|path| path == shown)? {
            return Ok(reply);
        }
        let access = http_access(self.request.access.as_ref())?;
        let blob = self.service.fetch.http(url, &access)?;
        let label = blob.label().to_owned();
        // Whoever waits here has shown the server credentials of its own and got an answer.
        self.service.flights.alone(&label, self.watch, || {
            if let Some(reply) = self.with_checksum(&label)? {
                return Ok(reply);
            }
            let wanted = self.wanted(ImportSource::Blob(Arc::clone(&blob)))?;
            self.store(&wanted, None, Vec::new())
        })
    }

    /// What the store does with a source.
    fn wanted(&self, source: ImportSource) -> Result<DiskImport, Error> {
        let request = self.request;
        let mut wanted = DiskImport::of(source);
        wanted.reading = Reading {
            format: request.format.clone(),
            backing_format: None,
            unpack: unpack(request.unpack.as_deref())?,
            member: request.member.clone(),
        };
        wanted.checksums = checksums(&request.checksums)?;
        wanted.name = Some(self.name.clone());
        wanted.replace = request.replace;
        Ok(wanted)
    }

    /// Imports.
    fn store(
        &self,
        wanted: &DiskImport,
        allowed: Option<&AllowedDirs>,
        facts: Vec<(String, String)>,
    ) -> Result<ImportReply, Error> {
        let resources = self.service.resources();
        let access = Access {
            formats: resources.plugins.as_ref(),
            allowed: allowed.unwrap_or(&resources.allowed),
            references: &resources.allowed,
        };
        let imported = resources.store.import(access, wanted, self.watch)?;
        let summary = resources.store.inspect(&imported.record.digest.to_string())?;
        Ok(ImportReply { image: image(summary), existed: imported.existed, facts })
    }

    /// What the pull policy allows to be answered out of the store alone; `is` tells by its recorded name whether an image
    /// came from the source.
    fn without_asking(&self, is: &dyn Fn(&str) -> bool) -> Result<Option<ImportReply>, Error> {
        if self.request.pull_policy == PullPolicy::Always {
            return Ok(None);
        }
        match self.known(is)? {
            Some(found) => self.adopt(found).map(Some),
            None if self.request.pull_policy == PullPolicy::Never => {
                let message = format!("the store has nothing from {}", place::shown(&self.request.source));
                Err(Error::new(ErrorKind::NotFound, message)
                    .hint("allow it to be fetched with --pull-policy if-not-present"))
            }
            None => Ok(None),
        }
    }

    /// The image that a server's file with the checksum of the request was made into, if the store has it.
    fn with_checksum(&self, label: &str) -> Result<Option<ImportReply>, Error> {
        let wanted = checksums(&self.request.checksums)?;
        let same = |summary: &ImageSummary| {
            let digest = summary.record.as_ref().and_then(|record| record.source.digest);
            digest.is_some_and(|digest| wanted.contains(&Checksum::from(digest)))
        };
        match self.known(&|path| path == label)?.filter(same) {
            Some(found) => self.adopt(found).map(Some),
            None => Ok(None),
        }
    }

    /// An image of the store that is good, came from the source and is read as the request wants it.
    fn known(&self, is: &dyn Fn(&str) -> bool) -> Result<Option<ImageSummary>, Error> {
        let images = self.service.resources().store.list()?;
        Ok(images.into_iter().find(|summary| {
            let fits = summary.record.as_ref().is_some_and(|record| {
                let format = self.request.format.as_ref();
                is(&record.source.path) && format.is_none_or(|format| *format == record.source.format)
            });
            fits && summary.state == ImageState::Ready
        }))
    }

    /// Gives an image of the store the name of the request.
    fn adopt(&self, found: ImageSummary) -> Result<ImportReply, Error> {
        let store = &self.service.resources().store;
        let digest = found.digest.to_string();
        if !found.names.contains(&self.name) {
            store.tag(&digest, &self.name, self.request.replace)?;
        }
        Ok(ImportReply { image: image(store.inspect(&digest)?), existed: true, facts: Vec::new() })
    }
}

fn http_access(access: Option<&RemoteAccess>) -> Result<HttpAccess, Error> {
    let mut http = HttpAccess::default();
    let Some(access) = access else { return Ok(http) };
    if access.docker_config.is_some() {
        return Err(invalid("credentials of docker are for registries; for a server give a login"));
    }
    for (name, value) in &access.headers {
        http = http.with_header(name, &Secret::new(value))?;
    }
    if let Some(login) = &access.login {
        http = http.with_login(login_of(login)?);
    }
    if let Some(ca) = &access.ca {
        http = http.with_authorities(Authorities::from_pem(ca.as_bytes())?);
    }
    Ok(http)
}

/// "user:password".
fn login_of(text: &str) -> Result<Login, Error> {
    let (user, password) =
        text.trim_end().split_once(':').ok_or_else(|| invalid("a login is user:password"))?;
    Ok(Login::Basic { user: user.to_owned(), password: Secret::new(password) })
}

fn unpack(text: Option<&str>) -> Result<Unpack, Error> {
    text.map_or_else(
        || Ok(Unpack::default()),
        |text| text.parse().map_err(|error| invalid(format!("unpack: {error}"))),
    )
}

fn checksums(texts: &[String]) -> Result<Vec<Checksum>, Error> {
    texts.iter().map(|text| text.parse().map_err(|error| invalid(format!("{error}")))).collect()
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, message.into())
}
