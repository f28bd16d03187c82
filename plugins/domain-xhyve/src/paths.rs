//! Paths of the host.

use crate::findings::{Findings, Place, quote};
use crate::shell::Directory;

/// The absolute path that a path means: relative ones are below where the command runs. `base`: where it all begins.
pub(crate) fn absolute(
    path: &str,
    directory: &Directory,
    base: Option<&str>,
    place: Place,
    findings: &mut Findings,
) -> String {
    if path.starts_with('/') {
        return tidy(path);
    }
    let above = match (directory, base) {
        (Directory::Absolute(directory), _) => Some(directory.clone()),
        (Directory::Relative(below), Some(base)) => Some(format!("{base}/{below}")),
        (Directory::Relative(_), None) => None,
        (Directory::Unknown(why), _) => {
            let message = format!(
                "{}: relative to a directory that is not known, since {} in line {} is only known when the script \
                 runs: write an absolute path",
                quote(path),
                why.what,
                why.line
            );
            findings.error(place, "xhyve.path.relative", message);
            return path.to_owned();
        }
    };
    match above {
        Some(above) => tidy(&format!("{above}/{path}")),
        None => {
            let message = format!(
                "{}: a relative path: the option \"directory\" says what it is relative to",
                quote(path)
            );
            findings.error(place, "xhyve.path.relative", message);
            path.to_owned()
        }
    }
}

/// Without `.`, `..` and empty parts, as far as that can be told from the text.
fn tidy(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{Directory, Findings, Place, absolute};

    #[test]
    fn paths_become_absolute() {
        let here = Directory::Relative(String::new());
        let below = Directory::Relative("vm/a".to_owned());
        let there = Directory::Absolute("/srv".to_owned());
        for (path, directory, base, expected) in [
            ("/a//b/./c", &here, None, "/a/b/c"),
            ("disk.img", &here, Some("/work"), "/work/disk.img"),
            ("./disk.img", &below, Some("/work"), "/work/vm/a/disk.img"),
            ("../x", &below, Some("/work/"), "/work/vm/x"),
            ("disk.img", &there, Some("/work"), "/srv/disk.img"),
        ] {
            let mut findings = Findings::default();
            assert_eq!(absolute(path, directory, base, Place::default(), &mut findings), expected);
            assert!(findings.into_diagnostics().is_empty(), "{path}");
        }
        let mut findings = Findings::default();
        assert_eq!(absolute("a", &here, None, Place::default(), &mut findings), "a");
        assert_eq!(findings.into_diagnostics().len(), 1);
    }
}
