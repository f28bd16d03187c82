//! What happens when the guest ends.

use witvirt_sdk::core::spec::RestartPolicy;

use crate::document::{DETAIL, Value, Waiver};
use crate::draft::Draft;

const UNAVAILABLE: Waiver =
    Waiver::warning("libvirt.lifecycle", "not available; the machine is left stopped");
const REBOOT: Waiver = Waiver::warning("libvirt.lifecycle", "not available; a guest that reboots, reboots");
const DUMP: Waiver = Waiver::warning("libvirt.lifecycle", "no core is dumped");

#[derive(Clone, Copy)]
enum Action {
    Destroy,
    Restart,
    Preserve,
}

const ACTIONS: [(&str, Action); 4] = [
    ("destroy", Action::Destroy),
    ("restart", Action::Restart),
    ("preserve", Action::Preserve),
    ("rename-restart", Action::Preserve),
];

pub(crate) fn read(draft: &mut Draft<'_>) {
    let domain = draft.domain;
    if let Some(crash) = domain.child_text("on_crash") {
        read_crash(crash, draft);
    }
    if let Some(poweroff) = domain.child_text("on_poweroff") {
        match poweroff.choose(&ACTIONS) {
            Some(Action::Restart) => draft.spec.restart = RestartPolicy::Always,
            Some(Action::Preserve) => poweroff.waive(&UNAVAILABLE),
            Some(Action::Destroy) | None => {}
        }
    }
    if let Some(reboot) = domain.child_text("on_reboot")
        && matches!(reboot.choose(&ACTIONS), Some(Action::Destroy | Action::Preserve))
    {
        reboot.waive(&REBOOT);
    }
    domain.waive_parts(&["on_lockfailure"], &DETAIL);
    if let Some(pm) = domain.child("pm") {
        let enabled = |name| pm.child(name).and_then(|state| state.attribute("enabled")).and_then(Value::yes);
        draft.spec.board.suspend_to_memory = enabled("suspend-to-mem");
        draft.spec.board.suspend_to_disk = enabled("suspend-to-disk");
    }
}

fn read_crash(crash: Value<'_>, draft: &mut Draft<'_>) {
    let action = match crash.text {
        "coredump-destroy" => Some(Action::Destroy),
        "coredump-restart" => Some(Action::Restart),
        _ => crash.choose(&ACTIONS),
    };
    if crash.text.starts_with("coredump-") {
        crash.waive(&DUMP);
    }
    match action {
        Some(Action::Restart) => draft.spec.restart = RestartPolicy::OnFailure,
        Some(Action::Preserve) => crash.waive(&UNAVAILABLE),
        Some(Action::Destroy) | None => {}
    }
}
