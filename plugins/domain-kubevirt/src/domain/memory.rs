//! Memory, and what pods reserve.

use crate::draft::{Draft, text_element};
use crate::tree::{Field, Waiver};
use witvirt_sdk::xml::Element;

const HOTPLUG: Waiver = Waiver::warning("kubevirt.memory.hotplug", "memory cannot be added later");
const OVERHEAD: Waiver =
    Waiver::info("kubevirt.resources", "what a pod reserves beside the guest: there is no pod");
const RESERVED: Waiver = Waiver::info(
    "kubevirt.resources",
    "what a node reserves for the pod: there is none; the guest's size is not changed",
);

pub(super) fn read(draft: &Draft<'_>) -> Vec<Element> {
    let mut parts = Vec::new();
    let memory = draft.domain.get("memory");
    let guest = memory.and_then(|memory| memory.get("guest"));
    let size = guest.and_then(Field::quantity);
    match (guest, size) {
        (Some(guest), Some(0)) => guest.refuse("more than 0 bytes"),
        (Some(_), Some(bytes)) => {
            parts.push(text_element("memory", bytes.to_string()).attribute("unit", "b"));
        }
        (Some(_), None) => {}
        (None, _) => draft.domain.error("kubevirt.value.missing", || {
            "how much memory is not said: memory.guest or resources.requests.memory is missing".to_owned()
        }),
    }
    if let Some(memory) = memory {
        parts.extend(huge_pages(memory, size));
        memory.waive_fields(&["maxGuest"], &HOTPLUG);
        memory.waive_fields(&["reservedOverhead"], &OVERHEAD);
    }
    resources(draft);
    parts
}

fn huge_pages(memory: Field<'_>, size: Option<u64>) -> Option<Element> {
    let pages = memory.get("hugepages")?;
    let page = pages.get("pageSize")?;
    let bytes = page.quantity()?;
    if bytes == 0 || size.is_some_and(|size| size % bytes != 0) {
        page.error("kubevirt.memory.hugepages", || "the guest's memory is not a multiple of this".to_owned());
        return None;
    }
    let page = Element::new("page").attribute("size", bytes.to_string()).attribute("unit", "b");
    Some(Element::new("memoryBacking").child(Element::new("hugepages").child(page)))
}

/// Requests and limits; what the guest's size came from is carried over, the rest is for nodes.
fn resources(draft: &Draft<'_>) {
    let Some(resources) = draft.domain.get("resources") else { return };
    resources.waive_fields(&["overcommitGuestOverhead"], &OVERHEAD);
    let tree = &draft.manifest.tree;
    let guest = draft.domain.path(&["memory", "guest"]).map(|guest| tree.to_json(guest.id));
    for kind in ["requests", "limits"] {
        let Some(list) = resources.get(kind) else { continue };
        for (name, value) in list.entries() {
            value.cover();
            let json = tree.to_json(value.id);
            let carried = name == "memory" && Some(&json) == guest.as_ref() || name == "cpu";
            if !carried {
                value.waive(&RESERVED);
            } else if value.quantity().is_some() && name == "cpu" {
                value.info("kubevirt.resources", || {
                    "counts as processors only where cpu has no topology; no share of the host is reserved".to_owned()
                });
            }
        }
    }
}
