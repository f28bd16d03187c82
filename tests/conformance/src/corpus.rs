//! libvirt's test documents, and how well each is translated.

use std::fmt;
use std::path::{Path, PathBuf};

use domain_libvirt::{Settings, convert};
use witvirt_core::domain::Severity;
use witvirt_core::spec::MachineSpec;
use witvirt_hypervisor::{FilePaths, QemuOptions, command_line};

use crate::compare::compare;
use crate::harmless;
use crate::options::{Argument, arguments, words};
use crate::view::View;

/// The settings of domain-libvirt for the corpus: a wire of which this host knows nothing becomes a user network, since the
/// card is what is compared.
const SETTINGS: &str = r#"{
    "firmware": {"code": "/usr/share/OVMF/OVMF_CODE.fd", "vars-template": "/usr/share/OVMF/OVMF_VARS.fd"},
    "secure-firmware": {"code": "/usr/share/OVMF/OVMF_CODE.secboot.fd", "vars-template": "/usr/share/OVMF/OVMF_VARS.fd"},
    "other-networks": "user"
}"#;

/// A row of the corpus's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Name of its files.
    pub name: String,
    /// "argv": libvirt makes a command line of it; "parse-error", "fail-argv": libvirt refuses it.
    pub kind: String,
    /// "core", "extended", "host", or "-" for what is refused.
    pub tier: String,
    /// "qemu" or "kvm".
    pub domain_type: String,
    directory: PathBuf,
}

/// How well a document is translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grade {
    /// The guest sees the same.
    Equal,
    /// The guest sees the same but for what is on the list of harmless differences: the names of the reasons.
    Harmless(Vec<String>),
    /// Something else is there than libvirt would give: the differences.
    Different(Vec<String>),
    /// Refused: the diagnostics' codes, or the hypervisor driver's words.
    Refused(String),
}

impl Grade {
    /// One word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Harmless(_) => "harmless",
            Self::Different(_) => "different",
            Self::Refused(_) => "refused",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal => write!(f, "equal\t"),
            Self::Harmless(reasons) => write!(f, "harmless\t{}", reasons.join(", ")),
            Self::Different(list) => write!(f, "different\t{}", list.join("; ")),
            Self::Refused(reason) => write!(f, "refused\t{reason}"),
        }
    }
}

/// The directory of a corpus, where it is.
pub fn data(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    path.is_dir().then_some(path)
}

impl Case {
    /// All cases of the corpus below `directory`.
    ///
    /// # Errors
    /// When its table cannot be read.
    pub fn all(directory: &Path) -> std::io::Result<Vec<Self>> {
        let table = std::fs::read_to_string(directory.join("index.tsv"))?;
        let rows = table.lines().skip(1).map(|row| row.split('\t').collect::<Vec<_>>());
        let case = |fields: Vec<&str>| {
            let field = |at: usize| fields.get(at).copied().unwrap_or_default().to_owned();
            Self {
                name: field(0),
                kind: field(1),
                tier: field(2),
                domain_type: field(3),
                directory: directory.join("qemuxmlconf-x86_64-latest"),
            }
        };
        Ok(rows.map(case).collect())
    }

    /// The document as a user writes it.
    pub fn document(&self) -> Option<String> {
        self.read("xml")
    }

    /// The document as libvirt completes it.
    pub fn complete_document(&self) -> Option<String> {
        self.read("x86_64-latest.xml")
    }

    /// libvirt's command line.
    pub fn line(&self) -> Option<Vec<Argument>> {
        Some(arguments(&words(&self.read("x86_64-latest.args")?)))
    }

    fn read(&self, extension: &str) -> Option<String> {
        std::fs::read_to_string(self.directory.join(format!("{}.{extension}", self.name))).ok()
    }

    /// Whether its hypervisor is KVM.
    pub fn is_kvm(&self) -> bool {
        self.domain_type == "kvm"
    }
}

/// The machine of a document.
///
/// # Errors
/// Why it is refused: codes of the diagnostics.
pub fn machine(document: &str) -> Result<MachineSpec, String> {
    let settings = Settings::parse(SETTINGS).map_err(|error| format!("settings: {error}"))?;
    let conversion = convert(document, None, &settings).map_err(|error| format!("unreadable: {error}"))?;
    let errors = conversion.diagnostics.iter().filter(|found| found.severity == Severity::Error);
    let mut codes: Vec<String> = errors
        .map(|found| match found.path.as_deref().and_then(|path| path.rsplit('/').next()) {
            Some(element) => format!("{} at {element}", found.code),
            None => found.code.to_string(),
        })
        .collect();
    codes.sort();
    codes.dedup();
    if codes.is_empty() { Ok(conversion.machine) } else { Err(codes.join(", ")) }
}

/// The command line of a document's machine.
///
/// # Errors
/// Why the document is refused, by the converter or by the hypervisor's driver.
pub fn our_line(document: &str, kvm: bool) -> Result<Vec<Argument>, String> {
    let machine = machine(document)?;
    let paths = FilePaths::of(&machine, "/run/witvirt/machine");
    let mut options = QemuOptions::new("/");
    options.vnc_addresses = machine.vnc.iter().map(|vnc| vnc.address).collect();
    let line =
        command_line(&machine, &paths, kvm, &options).map_err(|error| format!("qemu: {}", error.message))?;
    Ok(arguments(&line))
}

/// How well a document is translated, when this is libvirt's line for it.
pub fn grade(document: &str, kvm: bool, theirs: &[Argument]) -> Grade {
    let ours = match our_line(document, kvm) {
        Ok(ours) => ours,
        Err(reason) => return Grade::Refused(reason),
    };
    let mut reasons = Vec::new();
    let mut different = Vec::new();
    for difference in compare(&View::new(theirs), &View::new(&ours)) {
        match harmless::reason(&difference, document) {
            Some(reason) => reasons.push(reason.to_owned()),
            None => different.push(difference.to_string()),
        }
    }
    reasons.sort();
    reasons.dedup();
    match (different.is_empty(), reasons.is_empty()) {
        (true, true) => Grade::Equal,
        (true, false) => Grade::Harmless(reasons),
        (false, _) => Grade::Different(different),
    }
}
