//! Who is on the other end of the socket, and what they may do.

use crate::config::{Api, Role};

/// The process that opened a connection, as the kernel tells it (`SO_PEERCRED`): what it was at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// What it may do here.
    pub role: Role,
}

impl Peer {
    /// `own_uid` is the daemon's.
    pub fn new(uid: u32, gid: u32, own_uid: u32, api: &Api) -> Self {
        Self { uid, gid, role: role(uid, gid, own_uid, api) }
    }

    /// How policies and the audit log name it.
    pub fn subject(&self) -> String {
        format!("uid:{}", self.uid)
    }
}

fn role(uid: u32, gid: u32, own_uid: u32, api: &Api) -> Role {
    if uid == 0 || uid == own_uid || api.full_uids.contains(&uid) || api.full_gids.contains(&gid) {
        return Role::Full;
    }
    if api.read_uids.contains(&uid) || api.read_gids.contains(&gid) {
        return api.others.max(Role::Read);
    }
    api.others
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_right_wins_and_nobody_has_one_by_default() {
        let mut api = crate::config::Config::defaults().api;
        api.full_uids = vec![10];
        api.full_gids = vec![20];
        api.read_uids = vec![10, 11];
        api.read_gids = vec![21];
        let of = |uid, gid, api: &Api| Peer::new(uid, gid, 500, api).role;
        for (uid, gid, expected) in [
            (0, 0, Role::Full),
            (500, 1, Role::Full),
            (10, 1, Role::Full),
            (12, 20, Role::Full),
            (11, 1, Role::Read),
            (12, 21, Role::Read),
            (12, 1, Role::None),
        ] {
            assert_eq!(of(uid, gid, &api), expected, "{uid}:{gid}");
        }
        api.others = Role::Full;
        assert_eq!(of(11, 1, &api), Role::Full);
    }
}
