//! `spec.volumes`: what disks hold.

mod cloud_init;
mod data;
mod downward;
mod stored;

pub(crate) use data::Files;

use witvirt_sdk::xml::Element;

use crate::draft::Draft;
use crate::tree::{Field, Waiver, quote};

/// Most volumes and disks of a machine.
pub(crate) const MOST: usize = 256;
const DUMP: Waiver = Waiver::info("kubevirt.volume.utility", "for dumps in a cluster: not attached");
const LAUNCHER: Waiver =
    Waiver::error("kubevirt.device.filesystem", "witvirt shares no directories with guests");
const METRICS: Waiver = Waiver::error(
    "kubevirt.device.metrics",
    "there is no disk with metrics of the host, and the guest would miss it",
);

/// What a volume is for the disk on it.
#[derive(Debug)]
pub(crate) struct Content {
    /// `type` of the `<disk>`.
    pub(crate) kind: &'static str,
    /// `<source>`; `None` for an empty drive.
    pub(crate) source: Option<Element>,
    /// What the file is, where it is one.
    pub(crate) format: Option<&'static str>,
    pub(crate) read_only: bool,
    pub(crate) shareable: bool,
    /// Nothing can be attached; why was reported.
    pub(crate) refused: bool,
}

impl Content {
    /// An empty drive.
    pub(crate) fn empty() -> Self {
        Self { kind: "file", source: None, format: None, read_only: false, shareable: false, refused: false }
    }

    fn refused() -> Self {
        Self { refused: true, ..Self::empty() }
    }

    /// One of the document's own sources.
    fn source(name: &str) -> Self {
        let source = Element::new("source").attribute("pool", "witvirt").attribute("volume", name);
        Self { kind: "volume", source: Some(source), ..Self::empty() }
    }
}

/// Volumes that no disk has taken yet.
pub(crate) struct Volumes<'a>(Vec<(&'a str, Option<Content>, Field<'a>)>);

impl Volumes<'_> {
    /// The volume of a name, once.
    pub(crate) fn take(&mut self, name: &str) -> Option<Content> {
        let found = self.0.iter_mut().find(|(other, ..)| *other == name)?;
        let taken = found.1.take();
        if taken.is_none() {
            found.2.error("kubevirt.volume.name", || "two disks have this volume's name".to_owned());
        }
        Some(taken.unwrap_or_else(Content::refused))
    }
}

/// The sources, and who reads them.
type Reader = for<'a> fn(Field<'a>, &str, &mut Draft<'a>) -> Content;

const READERS: &[(&str, Reader)] = &[
    ("containerDisk", stored::container_disk),
    ("persistentVolumeClaim", stored::claim),
    ("dataVolume", stored::data_volume),
    ("ephemeral", stored::ephemeral),
    ("emptyDisk", stored::empty_disk),
    ("hostDisk", stored::host_disk),
    ("cloudInitNoCloud", cloud_init::no_cloud),
    ("cloudInitConfigDrive", cloud_init::config_drive),
    ("sysprep", data::sysprep),
    ("configMap", data::config_map),
    ("secret", data::secret),
    ("serviceAccount", data::service_account),
    ("downwardAPI", downward::read),
    ("downwardMetrics", |field, _, _| waived(field, &METRICS)),
    ("memoryDump", |field, _, _| waived(field, &DUMP)),
    ("containerPath", |field, _, _| waived(field, &LAUNCHER)),
];

fn waived(field: Field<'_>, waiver: &Waiver) -> Content {
    field.waive(waiver);
    Content::refused()
}

/// Reads all volumes; what is wrong with one is reported, and its disk left out.
pub(crate) fn read<'a>(draft: &mut Draft<'a>) -> Volumes<'a> {
    let mut volumes: Vec<(&str, Option<Content>, Field<'a>)> = Vec::new();
    let mut cloud_init = None;
    for volume in draft.spec.bounded_list("volumes", MOST) {
        let name = volume.required("name");
        if let Some(name) = name
            && volumes.iter().any(|(other, ..)| *other == name)
        {
            volume
                .error("kubevirt.volume.name", || format!("there is another volume called {}", quote(name)));
        }
        let sources = READERS.iter().filter_map(|(kind, reader)| Some((*kind, *reader, volume.get(kind)?)));
        let sources: Vec<_> = sources.collect();
        let content = match sources[..] {
            [(kind, reader, field)] => {
                let again = kind.starts_with("cloudInit") && cloud_init.replace(volume.id).is_some();
                if again { second_cloud_init(field) } else { reader(field, name.unwrap_or("volume"), draft) }
            }
            _ => {
                for (.., field) in &sources {
                    field.cover();
                }
                volume.error("kubevirt.volume.source", || match sources.is_empty() {
                    true => "says nothing of what it holds".to_owned(),
                    false => "holds several things at once".to_owned(),
                });
                Content::refused()
            }
        };
        if let Some(name) = name {
            volumes.push((name, Some(content), volume));
        }
    }
    cloud_init::credentials(draft, cloud_init.is_some());
    Volumes(volumes)
}

/// Reports templates of DataVolumes that no volume names; call it when all volumes are read.
pub(crate) fn finish(draft: &Draft<'_>) {
    let mut named = Vec::new();
    for volume in draft.spec.list("volumes") {
        let data_volume = volume.get("dataVolume").and_then(|source| source.text("name"));
        let claim = volume.get("persistentVolumeClaim").and_then(|source| source.text("claimName"));
        let below = volume.get("ephemeral").and_then(|source| source.get("persistentVolumeClaim"));
        let below = below.and_then(|claim| claim.text("claimName"));
        named.extend(data_volume.into_iter().chain(claim).chain(below));
    }
    stored::unused_templates(draft, &named);
}

fn second_cloud_init(field: Field<'_>) -> Content {
    field.cover();
    field.error("kubevirt.cloud-init.second", || {
        "only the first cloud-init volume is used, as under KubeVirt: take this one out".to_owned()
    });
    Content::refused()
}
