//! libvirt's own tests of reading bhyve's arguments: the machine that it sees and ours are the same by meaning, or the
//! checked-in table says how they differ and why.

use std::fs;
use std::path::{Path, PathBuf};

use domain_xhyve::{Settings, convert};
use roxmltree::{Document, Node};
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::domain::Options;

/// What libvirt's tests put where it makes something up.
const MADE_UP: [&str; 3] = ["c7a5fdbd-edaf-9455-926a-d65c16db1809", "52:54:00:00:00:00", "00:00:00:00:00:00"];

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn text<'a>(node: Node<'a, 'a>, name: &str) -> &'a str {
    child(node, name).and_then(|child| child.text()).unwrap_or_default().trim()
}

fn attribute<'a>(node: Node<'a, 'a>, element: &str, name: &str) -> &'a str {
    child(node, element).and_then(|child| child.attribute(name)).unwrap_or_default()
}

/// What a domain is, one line for each part: memory, CPUs, clock, features and devices with their buses.
fn meaning(xml: &str, with: &str) -> Vec<String> {
    let document = Document::parse(xml).unwrap();
    let domain = document.root_element();
    let memory = child(domain, "memory").unwrap();
    let unit = if memory.attribute("unit") == Some("KiB") { 1024 } else { 1 };
    let size = memory.text().unwrap().parse::<u64>().unwrap() * unit;
    let mut facts = vec![
        format!("name {}", text(domain, "name")),
        format!("memory {size}"),
        format!("cpus {}", text(domain, "vcpu")),
        format!("clock {}", attribute(domain, "clock", "offset")),
    ];
    let uuid = text(domain, "uuid");
    if !uuid.is_empty() && !MADE_UP.contains(&uuid) {
        facts.push(format!("uuid {uuid}"));
    }
    // Firmware here needs it.
    let rom = with.contains("-l bootrom");
    if !rom && child(domain, "features").is_some_and(|features| child(features, "acpi").is_some()) {
        facts.push("acpi".to_owned());
    }
    if child(domain, "memoryBacking").is_some_and(|backing| child(backing, "locked").is_some()) {
        facts.push("locked".to_owned());
    }
    let devices = child(domain, "devices").unwrap();
    facts.extend(devices.children().filter(Node::is_element).filter_map(|device| fact(device, with)));
    facts.sort();
    facts
}

fn fact(device: Node<'_, '_>, with: &str) -> Option<String> {
    // The lifetimes of children are those of the document.
    let device = device.document().get_node(device.id())?;
    let slot = || {
        let address = child(device, "address").filter(|address| address.attribute("type") == Some("pci"));
        address.map_or(String::new(), |address| {
            let number = |name| {
                address
                    .attribute(name)
                    .map_or("", |text| text.trim_start_matches("0x0").trim_start_matches("0x"))
            };
            format!(" at {}:{}", number("slot"), number("function"))
        })
    };
    Some(match device.tag_name().name() {
        "disk" => {
            let bus = attribute(device, "target", "bus");
            let place = if bus == "sata" { String::new() } else { slot() };
            format!(
                "{} {bus} {} {}{}{place}",
                device.attribute("device").unwrap_or_default(),
                attribute(device, "target", "dev"),
                attribute(device, "source", "file"),
                attribute(device, "boot", "order"),
            )
        }
        "interface" => {
            let mac = attribute(device, "mac", "address");
            // Where libvirt makes one up, any will do.
            let mac = if MADE_UP.contains(&mac) || !with.contains("mac=") { "" } else { mac };
            let model = attribute(device, "model", "type").trim_end_matches("-82545em");
            format!("card {model} {mac} {}{}", attribute(device, "target", "dev"), slot())
        }
        "serial" => format!("serial {}", attribute(device, "target", "port")),
        "rng" => format!("rng {}{}", device.attribute("model").unwrap_or_default(), slot()),
        "graphics" => format!(
            "{} {}:{}",
            device.attribute("type").unwrap_or_default(),
            device.attribute("listen").unwrap_or_default(),
            device.attribute("port").unwrap_or_default()
        ),
        "video" => "video".to_owned(),
        // Not there, or what every board has.
        "controller" | "memballoon" => return None,
        other => other.to_owned(),
    })
}

fn verdict(script: &str, expected: Option<&str>) -> String {
    let converted = convert(script, &Options::default(), &Settings::default());
    let made = match &converted {
        Ok(made) => made,
        Err(error) => return format!("refused: {error}"),
    };
    let error = made.diagnostics.iter().find(|d| d.severity == Severity::Error);
    if let Some(error) = error {
        return format!("refused: {}", error.message);
    }
    let Some(expected) = expected else { return "taken, though libvirt refuses it".to_owned() };
    let (ours, theirs) = (meaning(&made.xml, script), meaning(expected, script));
    if ours == theirs {
        return "same".to_owned();
    }
    let more = |one: &[String], other: &[String]| {
        one.iter().filter(|fact| !other.contains(fact)).cloned().collect::<Vec<_>>().join(", ")
    };
    format!("differs: only here: {}; only there: {}", more(&ours, &theirs), more(&theirs, &ours))
}

fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/libvirt/bhyve");
    if !path.is_dir() {
        println!("skipped: libvirt's tests are not at ../shared/data/libvirt/bhyve");
        return None;
    }
    Some(path)
}

fn cases(directory: &Path, suffix: &str) -> Vec<String> {
    let entries =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.filter_map(|name| name.strip_suffix(suffix).map(str::to_owned)).collect();
    names.sort();
    names
}

#[test]
fn arguments_mean_what_libvirt_reads_in_them() {
    let Some(corpus) = corpus() else { return };
    let directory = corpus.join("bhyveargv2xmldata");
    let mut table = String::from("# libvirt's bhyveargv2xmldata; written by WITVIRT_BLESS=1.\n");
    let (mut refused, mut same) = (0, 0);
    for name in cases(&directory, ".args") {
        let script = fs::read_to_string(directory.join(format!("{name}.args"))).unwrap();
        let expected = fs::read_to_string(directory.join(format!("{name}.xml"))).ok();
        let verdict = verdict(&script, expected.as_deref());
        assert!(expected.is_some() || verdict.starts_with("refused"), "{name}: {verdict}");
        refused += usize::from(expected.is_none());
        same += usize::from(verdict == "same");
        let theirs = if expected.is_some() { "read" } else { "refused" };
        table += &format!("{}\t{theirs}\t{verdict}\n", name.trim_start_matches("bhyveargv2xml-"));
    }
    compare("bhyve-argv.tsv", &table);
    assert_eq!((refused, same), (11, 28));
}

/// The other way round: the arguments that libvirt makes of its domains give the domains' devices back.
#[test]
fn arguments_that_libvirt_makes_are_read() {
    let Some(corpus) = corpus() else { return };
    let directory = corpus.join("bhyvexml2argvdata");
    let mut table = String::from(
        "# libvirt's bhyvexml2argvdata, back from .ldargs and .args; written by WITVIRT_BLESS=1.\n",
    );
    let mut same = 0;
    for name in cases(&directory, ".args") {
        let read =
            |suffix: &str| fs::read_to_string(directory.join(format!("{name}{suffix}"))).unwrap_or_default();
        // Names that libvirt's tests use where a real one would be.
        let script = format!("{}\n{}", read(".ldargs"), read(".args"));
        let script = script.replace("faketapdev", "tap0").replace("fakefirmwaredir", "/firmware");
        let converted = convert(&script, &Options::default(), &Settings::default());
        let verdict = match converted {
            Err(error) => format!("refused: {error}"),
            Ok(made) => match made.diagnostics.iter().find(|d| d.severity == Severity::Error) {
                Some(error) => format!("refused: {}", error.message),
                None => devices(&read(".xml"), &made.xml),
            },
        };
        same += usize::from(verdict == "same");
        table += &format!("{}\t{verdict}\n", name.trim_start_matches("bhyvexml2argv-"));
    }
    compare("bhyve-xml.tsv", &table);
    assert_eq!(same, 46);
}

/// Compares kinds, buses and sources of devices: names and places are libvirt's to choose there.
fn devices(theirs: &str, ours: &str) -> String {
    let facts = |xml: &str| {
        let document = Document::parse(xml).unwrap();
        let domain = document.root_element();
        let devices = child(domain, "devices").unwrap().children().filter(Node::is_element);
        let mut facts: Vec<_> = devices.filter_map(kind).collect();
        facts.push(format!("cpus {}", text(domain, "vcpu")));
        facts.sort();
        facts.dedup_by(|one, other| one == other && one == "serial");
        facts
    };
    let (theirs, ours) = (facts(theirs), facts(ours));
    if theirs == ours {
        return "same".to_owned();
    }
    format!("differs: {} here, {} there", ours.join(", "), theirs.join(", "))
}

fn kind(device: Node<'_, '_>) -> Option<String> {
    let device = device.document().get_node(device.id())?;
    Some(match device.tag_name().name() {
        "disk" => format!(
            "{} {} {}",
            device.attribute("device").unwrap_or("disk"),
            attribute(device, "target", "bus"),
            attribute(device, "source", "file")
        ),
        "interface" => {
            let model = attribute(device, "model", "type").trim_end_matches("-82545em");
            let mac = attribute(device, "mac", "address").to_lowercase();
            format!("card {model} {}", if MADE_UP.contains(&mac.as_str()) { "" } else { &mac })
        }
        // The first serial port may be written as the console, and a display brings its adapter along.
        "console" => "serial".to_owned(),
        "serial" | "graphics" | "rng" | "sound" => device.tag_name().name().to_owned(),
        "input" => format!("input {}", device.attribute("type").unwrap_or_default()),
        _ => return None,
    })
}

fn compare(name: &str, table: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("WITVIRT_BLESS").is_some() {
        fs::write(&file, table).unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), table, "{name}: WITVIRT_BLESS=1 writes it anew");
}
