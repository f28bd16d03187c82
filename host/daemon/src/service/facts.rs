//! What policies and users are told of the host.

use std::path::Path;

use serde_json::{Value, json};
use witvirt_core::Name;
use witvirt_machine::MachineStatus;

/// What this host has.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Its name.
    pub hostname: String,
    /// Its kernel's release.
    pub kernel: String,
    /// CPUs that the daemon may use.
    pub cpus: u32,
    /// Bytes of memory that the daemon may use: the machine's, or the control group's where that is less.
    pub memory_bytes: u64,
}

impl HostFacts {
    /// Asks the kernel.
    pub fn read() -> Self {
        let kernel =
            |name| std::fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).unwrap_or_default();
        let cpus = std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX));
        Self {
            hostname: kernel("hostname").trim().to_owned(),
            kernel: kernel("osrelease").trim().to_owned(),
            cpus,
            memory_bytes: memory(),
        }
    }

    /// The `host` of a review (`witvirt:device/policy`), without the machine that is judged.
    pub fn for_review(&self, machines: &[MachineStatus], judged: &Name) -> Value {
        let others = machines.iter().filter(|machine| machine.name != *judged).map(|machine| {
            json!({
                "name": machine.name,
                "state": machine.state,
                "vcpus": machine.vcpus,
                "memory-bytes": machine.memory.get(),
                "os": machine.os,
            })
        });
        json!({
            "cpus": self.cpus,
            "memory-bytes": self.memory_bytes,
            "os": std::env::consts::OS,
            "machines": others.collect::<Vec<_>>(),
        })
    }
}

fn memory() -> u64 {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text)).unwrap_or(0);
    let group =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    group.map_or(machine, |limit: u64| limit.min(machine))
}

/// `MemTotal` of /proc/meminfo (proc_meminfo(5)) in bytes.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn reads_the_total() {
        let text = "MemTotal:       24589532 kB\nMemFree:  1 kB\n";
        assert_eq!(super::total(text), Some(24_589_532 * 1024));
        assert_eq!(super::total("MemFree: 1 kB"), None);
        assert!(super::HostFacts::read().memory_bytes > 0);
    }
}
