//! Hooks that edit the data of cloud-init: KubeVirt's `PreCloudInitIso`, for sidecars and for plugins that convert
//! CloudInitData into CloudInitData. They run once the machine is there, for each of its disks that cloud-init reads, and
//! what they make of it is the machine's as if the document had said so.

use serde_json::{Map, Value};
use witvirt_core::Name;
use witvirt_core::domain::{CLOUD_INIT_JSON, Diagnostic, Document, Severity};
use witvirt_core::spec::{DataFile, Disk, DiskSource, MachineSpec};
use witvirt_hooks::cloud_init::CloudInitData;

use super::plan::{Plan, offers, plan};
use super::run::Run;
use super::{Converters, begin};
use crate::api::document::{Context, Conversion, ConvertRequest};
use crate::config::{Action, Pipeline, Step};

/// Where a kind of disk has what hooks may edit.
struct Layout {
    /// The file system's name; cloud-init takes it in either case.
    label: &'static str,
    source: &'static str,
    meta: &'static str,
    user: &'static str,
    network: &'static str,
}

const LAYOUTS: [Layout; 2] = [
    Layout {
        label: "cidata",
        source: "noCloud",
        meta: "meta-data",
        user: "user-data",
        network: "network-config",
    },
    Layout {
        label: "config-2",
        source: "configDrive",
        meta: "openstack/latest/meta_data.json",
        user: "openstack/latest/user_data",
        network: "openstack/latest/network_data.json",
    },
];

/// The part of a pipeline that edits the data of cloud-init; `None` where there is no such part.
pub fn pipeline(whole: &Pipeline, converters: &dyn Converters) -> Option<Pipeline> {
    let offers = |name: &Name| {
        let found = converters.converter(name);
        found.is_some_and(|plugin| offers(plugin.as_ref(), CLOUD_INIT_JSON, CLOUD_INIT_JSON))
    };
    let edits = |step: &&Step| match &step.action {
        Action::Plugin(name) => offers(name),
        Action::Ordered(ordered) => !ordered.plugins.is_empty() && ordered.plugins.values().all(offers),
        Action::Socket(_) => true,
    };
    let steps: Vec<Step> = whole.steps.iter().filter(edits).cloned().collect();
    let (source, target) = (CLOUD_INIT_JSON.to_owned(), CLOUD_INIT_JSON.to_owned());
    (!steps.is_empty()).then(|| Pipeline { steps, source, target, ..whole.clone() })
}

/// Lets the hooks of a pipeline edit the disks of the machine that was made.
pub(super) fn edit(
    whole: &Pipeline,
    converters: &dyn Converters,
    context: Context,
    conversion: &mut Conversion,
) {
    let Some(mut machine) = conversion.machine.take() else { return };
    edit_machine(&mut machine, whole, converters, context, conversion);
    conversion.machine = Some(machine);
}

fn edit_machine(
    machine: &mut MachineSpec,
    whole: &Pipeline,
    converters: &dyn Converters,
    context: Context,
    conversion: &mut Conversion,
) {
    if !machine.disks.iter().any(|disk| layout(disk).is_some()) {
        return;
    }
    let Some(pipeline) = pipeline(whole, converters) else { return };
    let plan = match plan(&pipeline, converters) {
        Ok(plan) => plan,
        Err(error) => return conversion.problems.push(error.to_string()),
    };
    let name = machine.name.to_string();
    for disk in &mut machine.disks {
        edit_disk(disk, &name, &plan, &context, conversion);
        if !conversion.problems.is_empty() {
            return;
        }
    }
    // Sizes, paths: hooks are as strange as documents.
    conversion.problems.extend(machine.validate().iter().map(ToString::to_string));
}

fn layout(disk: &Disk) -> Option<&'static Layout> {
    let Some(DiskSource::Data { label, .. }) = &disk.source else { return None };
    LAYOUTS.iter().find(|layout| layout.label.eq_ignore_ascii_case(label))
}

fn edit_disk(disk: &mut Disk, machine: &str, plan: &Plan, context: &Context, conversion: &mut Conversion) {
    let Some(layout) = layout(disk) else { return };
    let title = format!("disk {}", disk.name);
    let Some(DiskSource::Data { files, .. }) = &mut disk.source else { return };
    let Some(sent) = read(layout, files, machine, &title) else {
        return conversion.diagnostics.push(told(
            Severity::Warning,
            "pipeline.cloud-init.bytes",
            format!("{title}: its user or network data is no text, so that hooks are not asked for it"),
        ));
    };
    let edited = match ask(&sent, plan, context, conversion) {
        Ok(Some(edited)) => edited,
        Ok(None) => return,
        Err(error) => return conversion.problems.push(format!("{title}: {error}")),
    };
    if edited != sent {
        let message = format!("{title}: hooks have edited its cloud-init data");
        conversion.diagnostics.push(told(Severity::Info, "pipeline.cloud-init.edited", message));
        write(layout, files, &sent, &edited);
    }
}

fn told(severity: Severity, code: &str, message: String) -> Diagnostic {
    Diagnostic { severity, code: code.to_owned(), message, path: None, line: None }
}

/// Runs the hooks. `None`: one of them refuses, and the conversion says why.
fn ask(
    sent: &CloudInitData,
    plan: &Plan,
    context: &Context,
    conversion: &mut Conversion,
) -> Result<Option<CloudInitData>, serde_json::Error> {
    let request = ConvertRequest {
        media_type: CLOUD_INIT_JSON.to_owned(),
        body: serde_json::to_string(sent)?,
        context: Some(context.clone()),
        ..ConvertRequest::default()
    };
    let mut own = begin(&conversion.pipeline, &request);
    let (Document { body, .. }, _) = Run::new(plan, &request, &mut own).all();
    conversion.diagnostics.append(&mut own.diagnostics);
    conversion.diagnostics.extend(own.stages.into_iter().flat_map(|stage| stage.diagnostics));
    if !own.problems.is_empty() {
        conversion.problems.append(&mut own.problems);
        return Ok(None);
    }
    serde_json::from_str(&body).map(Some)
}

/// What hooks are given; `None` where a part of it is no text.
fn read(layout: &Layout, files: &[DataFile], machine: &str, volume: &str) -> Option<CloudInitData> {
    let text = |path: &str| match files.iter().find(|file| file.path == path) {
        Some(file) => String::from_utf8(file.content().ok()?).ok(),
        None => Some(String::new()),
    };
    // As YAML, which NoCloud allows too, it is not for the host to read, and stays as it is.
    let meta = serde_json::from_str::<Map<String, Value>>(&text(layout.meta)?)
        .unwrap_or_else(|_| Map::from_iter([("instance-id".to_owned(), machine.into())]));
    let drive = layout.source == "configDrive";
    Some(CloudInitData {
        data_source: layout.source.to_owned(),
        no_cloud_meta_data: (!drive).then(|| meta.clone()),
        config_drive_meta_data: drive.then_some(meta),
        user_data: text(layout.user)?,
        network_data: text(layout.network)?,
        volume_name: volume.trim_start_matches("disk ").to_owned(),
        ..CloudInitData::default()
    })
}

/// Puts what hooks have changed into the files.
fn write(layout: &Layout, files: &mut Vec<DataFile>, sent: &CloudInitData, edited: &CloudInitData) {
    let mut put = |path: &str, before: &str, after: &str| {
        if before == after {
            return;
        }
        files.retain(|file| file.path != path);
        // Without network data there is no file for it.
        if !after.is_empty() || path == layout.user {
            files.push(DataFile::text(path, after));
        }
    };
    put(layout.user, &sent.user_data, &edited.user_data);
    put(layout.network, &sent.network_data, &edited.network_data);
    let meta = |data: &CloudInitData| {
        let meta = if layout.source == "configDrive" {
            &data.config_drive_meta_data
        } else {
            &data.no_cloud_meta_data
        };
        meta.as_ref().map(|map| Value::Object(map.clone()).to_string())
    };
    // A hook that forgot the metadata has not asked for its removal: machines need an id.
    if let (Some(before), Some(after)) = (meta(sent), meta(edited)) {
        put(layout.meta, &before, &after);
    }
}

#[cfg(test)]
#[path = "cloud_init_tests.rs"]
mod tests;
