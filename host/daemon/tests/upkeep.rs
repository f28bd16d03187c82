//! Keeping the store in order through the command line.

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Stdio;

use support::{Site, plugin};

/// A site with the plugins that images and overlays take; `None` where they are not built.
fn site(more: &str) -> Option<Site> {
    let blocks: Option<Vec<String>> = ["format-qcow2", "format-raw"]
        .iter()
        .map(|name| {
            let file = plugin(name)?;
            Some(format!(
                "[[plugin]]\nname = \"{name}\"\nkind = \"disk-format\"\nfile = \"{}\"",
                file.display()
            ))
        })
        .collect();
    Some(Site::new(&format!("{more}\n{}", blocks?.join("\n"))))
}

fn import(site: &Site, name: &str, byte: u8) -> String {
    let file = site.path(name);
    std::fs::write(&file, vec![byte; 2 << 20]).unwrap();
    let reply = site.json(&["image", "import", file.to_str().unwrap(), "--format", "raw", "--name", name]);
    reply["image"]["digest"].as_str().unwrap().to_owned()
}

fn alter(site: &Site, digest: &str) {
    let disk: PathBuf =
        site.path("state/images/images").join(digest.trim_start_matches("sha256:")).join("disk.raw");
    std::fs::set_permissions(&disk, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::OpenOptions::new().write(true).open(&disk).unwrap().write_all_at(b"altered", 9999).unwrap();
}

#[test]
fn an_altered_image_fails_verification_and_is_fetched_again_before_a_machine_starts_from_it() {
    let Some(site) = site("") else { return };
    let _daemon = site.daemon();
    let digest = import(&site, "base", 1);
    import(&site, "other", 2);
    site.run(&["image", "verify", "--all"]);
    alter(&site, &digest);
    let (code, _) = site.fail(&["image", "verify", "--all"]);
    assert_eq!(code, 1);
    let image = site.json(&["image", "inspect", "base"]);
    assert_eq!(image["state"], "quarantined");

    let machine = site.machine("web", "[[disks]]\nname = \"root\"\nsource = { image = \"base\" }");
    site.run(&["create", &machine, "--start"]);
    assert_eq!(site.json(&["image", "inspect", "base"])["state"], "ready");
    site.run(&["stop", "web"]);

    // Now the source is gone as well: the machine does not start from what nobody vouches for.
    alter(&site, &digest);
    std::fs::remove_file(site.path("base")).unwrap();
    let (code, error) = site.fail(&["start", "web"]);
    assert!(code != 0 && error.contains("altered"), "{error}");
}

#[test]
fn unused_images_are_removed_and_those_of_machines_never() {
    let Some(site) = site("") else { return };
    let _daemon = site.daemon();
    import(&site, "base", 1);
    import(&site, "spare", 2);
    let machine = site.machine("web", "[[disks]]\nname = \"root\"\nsource = { image = \"base\" }");
    site.run(&["create", &machine]);
    assert_eq!(site.json(&["image", "gc"]).as_array().unwrap().len(), 0, "both have names");
    assert_eq!(site.json(&["image", "gc", "--all", "--unused-for", "1h"]).as_array().unwrap().len(), 0);
    let would = site.json(&["image", "gc", "--all", "--dry-run"]);
    assert_eq!(would[0]["names"][0], "spare");
    let gone = site.json(&["image", "gc", "--all"]);
    assert_eq!((gone.as_array().unwrap().len(), &gone[0]["names"][0]), (1, &"spare".into()));
    let left = site.json(&["image", "ls"]);
    assert_eq!((left.as_array().unwrap().len(), &left[0]["names"][0]), (1, &"base".into()));
    site.run(&["rm", "web"]);
    site.run(&["image", "gc", "--all"]);
    assert_eq!(site.json(&["image", "ls"]).as_array().unwrap().len(), 0);
}

const DISK: &str = "[[disks]]\nname = \"root\"\nsource = { image = \"base\" }";

/// Where a machine's disk is not a clone that needs no image.
fn is_overlay(site: &Site, overlays: &str) -> bool {
    let overlay = site.path(overlays).join("root.qcow2").exists();
    if !overlay {
        println!("skipped: the filesystem clones files");
    }
    overlay
}

fn images(site: &Site) -> usize {
    site.json(&["image", "ls"]).as_array().unwrap().len()
}

#[test]
fn images_below_the_disks_of_a_machine_without_a_daemon_stay() {
    let Some(site) = site("") else { return };
    let daemon = site.daemon();
    let digest = import(&site, "base", 1);
    daemon.terminate();
    let file = site.machine("solo", DISK);
    let mut run = site.command(&["run", &file]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut console = BufReader::new(run.stdout.take().unwrap());
    console.read_line(&mut line).unwrap();
    assert!(line.contains("null machine solo"), "{line}");
    let _daemon = site.daemon();
    let overlays = "state/alone/solo/machines/solo/overlays";
    let kept = || {
        // The daemon's machine of that name is another one.
        let other = site.machine("solo", "");
        site.run(&["create", &other]);
        site.run(&["rm", "solo"]);
        assert_eq!(site.json(&["image", "gc", "--all"]).as_array().unwrap().len(), 0);
        let (_, message) = site.fail(&["image", "rm", "base"]);
        assert!(message.contains("alone/solo"), "{message}");
        let shown = site.json(&["image", "inspect", "base"]);
        assert!(shown["users"][0].as_str().unwrap().ends_with("solo/overlays/root"), "{shown}");
    };
    let overlay = is_overlay(&site, overlays);
    if overlay {
        kept();
    }
    let socket = site.path("run/alone/solo/witvirt.sock");
    site.run(&["--socket", socket.to_str().unwrap(), "stop", "solo"]);
    run.wait().unwrap();
    if overlay {
        kept();
        site.run(&["image", "rm", &digest, "--force"]);
        assert_eq!(images(&site), 0);
    }
}

#[test]
fn images_of_machines_that_cannot_be_read_stay() {
    let Some(site) = site("") else { return };
    let daemon = site.daemon();
    import(&site, "base", 1);
    site.run(&["create", &site.machine("web", DISK), "--start"]);
    site.run(&["stop", "web"]);
    if !is_overlay(&site, "state/machines/web/overlays") {
        return;
    }
    // What was made before the store knew its users, or by another program.
    let forget = || std::fs::remove_dir_all(site.path("state/images/users")).unwrap();
    let record = site.path("state/machines/web/overlays/root.json");
    let text = std::fs::read(&record).unwrap();
    std::fs::write(&record, "{").unwrap();
    let (_, message) = site.fail(&["image", "gc", "--all"]);
    assert!(message.contains("web") && message.contains("root.json"), "{message}");
    assert!(!site.try_run(&["image", "rm", "base"]).status.success());
    std::fs::write(&record, text).unwrap();
    daemon.terminate();
    forget();
    std::fs::write(site.path("state/machines/web/machine.json"), "{").unwrap();
    let _daemon = site.daemon();
    assert_eq!(site.json(&["ps"])[0]["state"], "broken");
    assert_eq!(site.json(&["image", "gc", "--all"]).as_array().unwrap().len(), 0);
    assert_eq!(images(&site), 1);
    site.run(&["rm", "web", "--force"]);
    assert_eq!(site.json(&["image", "gc", "--all"]).as_array().unwrap().len(), 1);
}

#[test]
fn volumes_are_made_listed_and_removed_only_when_no_machine_runs_on_them() {
    let Some(site) = site("") else { return };
    let _daemon = site.daemon();
    import(&site, "base", 1);
    let made = site.json(&["volume", "create", "grown", "--image", "base", "--size", "4MiB"]);
    assert_eq!((&made["name"], &made["size"]), (&"grown".into(), &(4 << 20).into()));
    site.run(&["volume", "create", "empty", "--size", "1GiB"]);
    let disk = std::fs::read(site.path("state/images/volumes/grown.raw")).unwrap();
    assert!(disk[..2 << 20].iter().all(|&byte| byte == 1) && disk[2 << 20..].iter().all(|&byte| byte == 0));

    let (code, error) = site.fail(&["volume", "create", "empty", "--size", "2GiB"]);
    assert!(code == 4 && error.contains("already"), "{code} {error}");
    let (code, error) = site.fail(&["volume", "create", "lost", "--image", "nothing"]);
    assert!(code == 3 && error.contains("nothing"), "{code} {error}");
    let (code, error) = site.fail(&["volume", "create", "sizeless"]);
    assert!(code == 2 && error.contains("--size"), "{code} {error}");

    let source = "[[disks]]\nname = \"root\"\nsource = { volume = { name = \"grown\" } }";
    site.run(&["create", &site.machine("web", source), "--start"]);
    assert_eq!(site.json(&["volume", "inspect", "grown"])["users"][0], "web");
    assert_eq!(site.fail(&["volume", "rm", "grown", "--force"]).0, 4, "it runs");
    site.run(&["kill", "web"]);
    assert_eq!(site.fail(&["volume", "rm", "grown"]).0, 4, "it is named");
    site.run(&["volume", "rm", "grown", "--force"]);
    site.run(&["volume", "rm", "empty"]);
    assert_eq!(site.json(&["volume", "ls"]), serde_json::json!([]));
    assert_eq!(site.fail(&["volume", "rm", "empty"]).0, 3);
}
