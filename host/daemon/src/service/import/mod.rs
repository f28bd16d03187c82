//! Imports: from files of this host, HTTP servers, registries and requests' bodies.

mod artifact;
mod flight;
mod place;
mod refetch;
mod upload;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;
use witvirt_core::{Digest, Name};
use witvirt_disk::{
    Access, AllowedDirs, Checksum, ImageState, ImageSummary, ImportRequest as DiskImport, ImportSource,
    Origin, Reading, Unpack,
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
        let name = Some(request.name.clone().map_or_else(|| place.name(), Ok)?);
        let job = Import { service: self, request, name, watch, who: As::Requester };
        match place {
            Place::Here(path) => job.import_file(&path, anywhere),
            Place::Http(url) => job.import_url(&url),
            Place::Registry(reference) => job.import_artifact(&reference),
        }
    }
}

impl Service {
    /// Imports what a machine's spec names as the source of a disk, with the operator's credentials. The name of the request
    /// is taken only where no image has it: nobody asked for it.
    ///
    /// # Errors
    /// As with every import.
    pub(super) fn import_for_machine(
        self: &Arc<Self>,
        request: &ImportRequest,
        watch: &Arc<Watch>,
    ) -> Result<ImportReply, Error> {
        let name = match &request.name {
            Some(name) if self.resources().store.is_free(name)? => Some(name.clone()),
            _ => None,
        };
        let job = Import { service: self, request, name, watch, who: As::Operator };
        match Place::parse(&request.source)? {
            Place::Http(url) => job.import_url(&url),
            Place::Registry(reference) => job.import_artifact(&reference),
            Place::Here(_) => Err(invalid("a remote disk comes from a server or a registry")),
        }
    }
}

/// An image of the store, and the origin of it that was looked for.
struct Known {
    summary: ImageSummary,
    origin: Origin,
}

/// One import.
struct Import<'a> {
    service: &'a Arc<Service>,
    request: &'a ImportRequest,
    /// What to call the image; `None`: nothing.
    name: Option<Name>,
    watch: &'a Arc<Watch>,
    who: As,
}

/// In whose name servers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    /// With what the request presents, and nothing else.
    Requester,
    /// With the credentials of the config.
    Operator,
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
        let label = witvirt_fetch::label_of(url)?;
        if let Some(reply) = self.without_asking(&|origin| self.is_of(origin, &label))? {
            return Ok(reply);
        }
        let fetch = &self.service.fetch;
        let blob = match self.who {
            As::Requester => fetch.http(url, &http_access(self.request.access.as_ref())?)?,
            As::Operator => fetch.http_as_operator(url)?,
        };
        let label = blob.label().to_owned();
        // Whoever waits here has shown the server credentials of its own and got an answer.
        let flights = &self.service.flights;
        let version = blob.version().map(str::to_owned);
        flights.alone(&label, self.watch, |waited| {
            // Two answers of one version mean the same bytes, as they do when a download goes on.
            let version = version.as_deref();
            let landed = version.filter(|_| waited).and_then(|version| flights.landed(&label, version));
            if let Some(found) = self.in_store(&label, landed)? {
                return self.adopt(found);
            }
            let wanted = self.wanted(ImportSource::Blob(Arc::clone(&blob)))?;
            let reply = self.store(&wanted, None, Vec::new())?;
            if let Some(version) = version {
                flights.land(&label, version, reply.image.digest);
            }
            Ok(reply)
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
        wanted.name.clone_from(&self.name);
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
    fn without_asking(&self, is: &dyn Fn(&Origin) -> bool) -> Result<Option<ImportReply>, Error> {
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

    /// The image that a server's file was made into, if the store has it: the one that has just been made of it, or one that
    /// the checksums of the request tell.
    fn in_store(&self, label: &str, landed: Option<Digest>) -> Result<Option<Known>, Error> {
        if let Some(image) = landed {
            let found = self.known(&|origin| self.is_of(origin, label))?;
            return Ok(found.filter(|found| found.summary.digest == image));
        }
        if self.request.checksums.is_empty() {
            Ok(None)
        } else {
            self.known(&|origin| self.is_of(origin, label))
        }
    }

    /// Whether an image came from the object of a server, and is the member of it that the request names, if it does.
    fn is_of(&self, origin: &Origin, label: &str) -> bool {
        let member = |name: &String| {
            origin.member.as_ref().is_some_and(|known| {
                known.trim_start_matches('/') == name.trim_start_matches("./").trim_start_matches('/')
            })
        };
        origin.source.path == label && self.request.member.as_ref().is_none_or(member)
    }

    /// An image of the store that is good, came from the source (among others, perhaps) and is read as the request wants it.
    fn known(&self, is: &dyn Fn(&Origin) -> bool) -> Result<Option<Known>, Error> {
        let format = self.request.format.as_ref();
        let (wanted, unpack) = (checksums(&self.request.checksums)?, unpack(self.request.unpack.as_deref())?);
        // Other sums than SHA-256 are not recorded: whoever gives one has the source read again.
        let summed = |origin: &Origin| {
            wanted.iter().all(|sum| origin.source.digest.is_some_and(|digest| *sum == Checksum::from(digest)))
        };
        let unpacked = |origin: &Origin| match &unpack {
            Unpack::Stated(transports) => *transports == origin.transport,
            Unpack::Auto => true,
        };
        let fits = |origin: &Origin| {
            is(origin)
                && format.is_none_or(|format| *format == origin.source.format)
                && summed(origin)
                && unpacked(origin)
        };
        let images = self.service.resources().store.list()?;
        let ready = images.into_iter().filter(|summary| summary.state == ImageState::Ready);
        let mut found = ready.filter_map(|summary| {
            let origins = summary.record.iter().flat_map(|record| record.origins());
            let origin = origins.rev().find(|origin| fits(origin))?.clone();
            Some(Known { summary, origin })
        });
        Ok(found.next())
    }

    /// Gives an image of the store the name of the request.
    fn adopt(&self, found: Known) -> Result<ImportReply, Error> {
        let store = &self.service.resources().store;
        let Known { summary, origin } = found;
        let digest = summary.digest.to_string();
        if let Some(name) = self.name.as_ref().filter(|name| !summary.names.contains(name)) {
            store.tag(&digest, name, self.request.replace)?;
        }
        Ok(ImportReply { image: image(store.inspect(&digest)?), existed: true, facts: origin.machine })
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
