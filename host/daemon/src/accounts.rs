//! Users and groups of this host, from /etc/passwd and /etc/group (passwd(5), group(5)).

use anyhow::Context;

/// User and primary group of a name or a number.
///
/// # Errors
/// When there is no such user.
pub fn user(name: &str) -> anyhow::Result<(u32, u32)> {
    let text = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let found = text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [login, _, uid, gid, ..] = fields.as_slice() else { return None };
        (*login == name || *uid == name).then(|| Some((uid.parse().ok()?, gid.parse().ok()?))).flatten()
    });
    found.with_context(|| format!("there is no user \"{name}\" in /etc/passwd"))
}

/// The number of a group by its name or number.
///
/// # Errors
/// When there is no such group.
pub fn group(name: &str) -> anyhow::Result<u32> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    let text = std::fs::read_to_string("/etc/group").context("cannot read /etc/group")?;
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    found.with_context(|| format!("there is no group \"{name}\" in /etc/group"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn root_is_known_and_nonsense_is_not() {
        assert_eq!(super::user("root").unwrap(), (0, 0));
        assert_eq!(super::user("0").unwrap(), (0, 0));
        assert_eq!(super::group("root").unwrap(), 0);
        assert_eq!(super::group("4242").unwrap(), 4242);
        assert!(super::user("no such user").is_err());
        assert!(super::group("no such group").is_err());
    }
}
