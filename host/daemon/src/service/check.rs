//! Whether machines can run on this host, and how well: the hypervisor's checks, and those of the daemon's own places.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use witvirt_hypervisor::checks::{self, CheckOptions, Status};

use crate::api::host::{Check, CheckStatus};
use crate::api::{Error, ErrorKind};
use crate::config::{Config, Driver};

/// Looks at everything. Blocks for up to a second, while KVM is measured.
///
/// # Errors
/// When the root directory cannot be opened.
pub fn host(config: &Config) -> Result<Vec<Check>, Error> {
    let mut checks = hypervisor(config)?;
    if config.hypervisor.driver == Driver::Qemu {
        checks.push(user(&config.hypervisor.user));
    } else {
        let remedy = "set [hypervisor] driver = \"qemu\" for real machines";
        checks.push(warn("driver", "the null driver runs nothing", remedy));
    }
    checks.push(directory("state-directory", &config.state_directory));
    checks.push(directory("store-directory", &config.store_directory));
    checks.push(directory("plugin-cache", &config.cache_directory));
    Ok(checks)
}

fn hypervisor(config: &Config) -> Result<Vec<Check>, Error> {
    let mut options = CheckOptions::host()
        .map_err(|error| Error::caused(ErrorKind::Internal, "cannot look at this host", &error))?;
    options.qemu = config.hypervisor.binary.clone();
    options.swtpm = config.hypervisor.swtpm.clone();
    options.image_dir = Some(config.store_directory.clone());
    let told = |check: checks::Check| Check {
        name: check.name,
        status: match check.status {
            Status::Pass => CheckStatus::Pass,
            Status::Info => CheckStatus::Info,
            Status::Warn => CheckStatus::Warn,
            Status::Fail => CheckStatus::Fail,
        },
        found: check.detail,
        remedy: check.remedy,
    };
    Ok(checks::run(&options).into_iter().map(told).collect())
}

fn check(name: &str, status: CheckStatus, found: impl Into<String>, remedy: Option<&str>) -> Check {
    Check { name: name.to_owned(), status, found: found.into(), remedy: remedy.map(str::to_owned) }
}

fn pass(name: &str, found: impl Into<String>) -> Check {
    check(name, CheckStatus::Pass, found, None)
}

fn warn(name: &str, found: impl Into<String>, remedy: &str) -> Check {
    check(name, CheckStatus::Warn, found, Some(remedy))
}

fn fail(name: &str, found: impl Into<String>, remedy: &str) -> Check {
    check(name, CheckStatus::Fail, found, Some(remedy))
}

fn user(user: &str) -> Check {
    let name = "qemu-user";
    if !rustix::process::geteuid().is_root() {
        return pass(name, "the daemon is not root: QEMU runs as the same user");
    }
    match crate::accounts::user(user).is_ok() {
        true => pass(name, format!("{user} exists")),
        false => fail(
            name,
            format!("there is no user {user}"),
            "make it (useradd --system), or set [hypervisor] user",
        ),
    }
}

/// The directory, or the nearest one above it that exists: whether this user can write there, and how much room it has.
fn directory(name: &str, path: &Path) -> Check {
    let Some(existing) = path.ancestors().find(|ancestor| ancestor.is_dir()) else {
        return fail(name, format!("{} cannot be made", path.display()), "correct the path in the config");
    };
    if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() {
        let owner = existing.metadata().map_or(0, |metadata| metadata.uid());
        return warn(
            name,
            format!("{} cannot be written by this user", existing.display()),
            &format!("run as user {owner}, or set another directory in the config"),
        );
    }
    let free = rustix::fs::statvfs(existing).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    let found = format!("{}: {} free", path.display(), witvirt_core::ByteSize(free));
    match free >> 30 {
        0 => warn(name, found, "less than 1 GiB is left: make room, or set another directory in the config"),
        _ => pass(name, found),
    }
}
