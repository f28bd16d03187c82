//! What of a machine is shown to nobody but whoever made it.

use sha2::{Digest as _, Sha256};
use witvirt_core::Digest;
use witvirt_core::spec::MachineSpec;

/// What stands in the place of a key.
const WITHHELD: &str = "osk=(withheld)";

/// Takes away the contents of data disks, and the key that `isa-applesmc,osk=...` gives the guest.
pub(super) fn withhold(spec: &mut MachineSpec) {
    spec.withhold(&sha256);
    for argument in &mut spec.qemu_arguments {
        *argument = without_key(argument);
    }
}

/// Puts back what [`withhold`] took from `before`.
pub(super) fn give_back(spec: &mut MachineSpec, before: &MachineSpec) {
    spec.give_back(before, &sha256);
    for argument in spec.qemu_arguments.iter_mut().filter(|argument| argument.contains(WITHHELD)) {
        if let Some(original) = before.qemu_arguments.iter().find(|one| without_key(one) == *argument) {
            argument.clone_from(original);
        }
    }
}

pub(super) fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

fn without_key(argument: &str) -> String {
    let Some(at) = argument.find("osk=").filter(|_| argument.starts_with("isa-applesmc")) else {
        return argument.to_owned();
    };
    let end = argument[at..].find(',').map_or(argument.len(), |comma| at + comma);
    format!("{}{WITHHELD}{}", &argument[..at], &argument[end..])
}

#[cfg(test)]
mod tests {
    use super::{give_back, withhold};
    use witvirt_core::spec::MachineSpec;

    #[test]
    fn a_key_is_taken_out_and_put_back() {
        let mut spec: MachineSpec = serde_json::from_value(serde_json::json!({
            "name": "mac", "memory": "64MiB",
            "qemu-arguments": ["-device", "isa-applesmc,osk=geheim,x=1", "-device", "isa-applesmc,osk=geheim"],
        }))
        .unwrap();
        let before = spec.clone();
        withhold(&mut spec);
        assert!(!format!("{spec:?}").contains("geheim"), "{spec:?}");
        assert_eq!(spec.qemu_arguments[1], "isa-applesmc,osk=(withheld),x=1");
        give_back(&mut spec, &before);
        assert_eq!(spec, before);
    }
}
