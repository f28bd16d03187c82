//! Fields that tell a cluster where and how to run a pod.

use crate::draft::Draft;
use crate::tree::Waiver;

const PLACE: Waiver = Waiver::info("kubevirt.scheduling", "there is one host: nothing to choose");
const POD: Waiver = Waiver::info("kubevirt.pod", "there is no pod that it would apply to");
const EVICTION: Waiver = Waiver::info("kubevirt.migration", "machines are not migrated");
const PROBE: Waiver = Waiver::warning("kubevirt.probe", "the guest is not probed");
const DNS: Waiver = Waiver::warning("kubevirt.dns", "the guest gets the name servers of the host");
const UTILITY: Waiver =
    Waiver::info("kubevirt.volume.utility", "for dumps and backups in a cluster: not attached");
const SUBDOMAIN: Waiver = Waiver::info("kubevirt.dns", "there is no cluster whose DNS would have the name");

pub(super) fn read(draft: &Draft<'_>) {
    let spec = draft.spec;
    spec.waive_fields(
        &[
            "priorityClassName",
            "nodeSelector",
            "affinity",
            "schedulerName",
            "tolerations",
            "topologySpreadConstraints",
        ],
        &PLACE,
    );
    spec.waive_fields(&["serviceAccountName", "resourceClaims"], &POD);
    spec.waive_fields(&["evictionStrategy"], &EVICTION);
    spec.waive_fields(&["livenessProbe", "readinessProbe"], &PROBE);
    spec.waive_fields(&["dnsPolicy", "dnsConfig"], &DNS);
    spec.waive_fields(&["utilityVolumes"], &UTILITY);
    spec.waive_fields(&["subdomain"], &SUBDOMAIN);
    if let Some(arch) = spec.get("architecture")
        && arch.string().is_some_and(|arch| !matches!(arch, "amd64" | "x86_64" | ""))
    {
        arch.error("kubevirt.architecture", || "witvirt runs x86_64 guests only: use amd64".to_owned());
    }
}
