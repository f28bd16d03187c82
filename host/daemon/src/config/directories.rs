//! Where things are when the config does not say.

use std::path::PathBuf;

/// Directories of the daemon.
pub(super) struct Directories {
    pub state: PathBuf,
    pub run: PathBuf,
    pub cache: PathBuf,
}

impl Directories {
    /// System directories for root, else the user's by the XDG base directory specification.
    pub(super) fn of_user() -> Self {
        if rustix::process::geteuid().is_root() {
            return Self {
                state: "/var/lib/witvirt".into(),
                run: "/run/witvirt".into(),
                cache: "/var/cache/witvirt".into(),
            };
        }
        let state = xdg("XDG_STATE_HOME", ".local/state").join("witvirt");
        let run = absolute("XDG_RUNTIME_DIR")
            .map_or_else(|| state.join("run"), |directory| directory.join("witvirt"));
        Self { state, run, cache: xdg("XDG_CACHE_HOME", ".cache").join("witvirt") }
    }
}

fn absolute(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn xdg(variable: &str, below_home: &str) -> PathBuf {
    let home = || absolute("HOME").unwrap_or_else(|| PathBuf::from("/"));
    absolute(variable).unwrap_or_else(|| home().join(below_home))
}

/// The config file that is used when none is named: $WITVIRT_CONFIG, the user's, the system's; the first that exists.
pub fn find_config() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("WITVIRT_CONFIG") {
        return Some(named.into());
    }
    let candidates =
        [xdg("XDG_CONFIG_HOME", ".config").join("witvirt/witvirt.toml"), "/etc/witvirt/witvirt.toml".into()];
    candidates.into_iter().find(|path| path.exists())
}
