//! The machine in the making.

use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::MachineSpec;

use crate::document::Element;
use crate::settings::Settings;
use crate::sources::Sources;

pub(crate) struct Draft<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) domain: Element<'a>,
    pub(crate) spec: MachineSpec,
    /// What `<w:source>` elements call the contents of disks.
    pub(crate) sources: Sources<'a>,
    /// `<w:forward>` elements, until the interfaces are known.
    pub(crate) forwards: Vec<Element<'a>>,
    /// Whether the document speaks of USB controllers.
    pub(crate) usb: bool,
    /// Name of a list of the spec, index in it, and the element the entry was made from.
    origins: Vec<(&'static str, usize, Element<'a>)>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(domain: Element<'a>, settings: &'a Settings, spec: MachineSpec) -> Self {
        Self {
            settings,
            domain,
            spec,
            sources: Sources::default(),
            forwards: Vec::new(),
            usb: false,
            origins: Vec::new(),
        }
    }

    /// Remembers where entry `index` of list `name` came from.
    pub(crate) fn made_from(&mut self, name: &'static str, index: usize, element: Element<'a>) {
        self.origins.push((name, index, element));
    }

    /// The index in list `name` of the entry that was made from the element with this alias.
    pub(crate) fn with_alias(&self, name: &str, alias: &str) -> Option<usize> {
        let called = |element: &Element<'_>| {
            element.peek("alias").and_then(|tag| tag.peek_attribute("name")) == Some(alias)
        };
        let mut listed = self.origins.iter().filter(|(list, _, _)| *list == name);
        listed.find(|(_, _, element)| called(element)).map(|(_, index, _)| *index)
    }

    /// Reports what [`MachineSpec::validate`] finds, at the elements that it came from.
    pub(crate) fn validate(&self) {
        for problem in self.spec.validate() {
            let element = self.origin(&problem.path);
            let message = || format!("{} (machine spec: {})", problem.message, problem.path);
            element.report(Severity::Error, "libvirt.machine.invalid", message);
        }
    }

    fn origin(&self, path: &str) -> Element<'a> {
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let (head, rest) = path.split_at(end);
        let index = rest.strip_prefix('[').and_then(|rest| rest.split(']').next());
        let index: Option<usize> = index.and_then(|index| index.parse().ok());
        let made =
            |(name, at, _): &&(&str, usize, Element<'_>)| *name == head && index.is_none_or(|n| n == *at);
        if let Some((_, _, element)) = self.origins.iter().find(made) {
            return *element;
        }
        let child = match head {
            "cpu" if rest.starts_with(".count") => "vcpu",
            "boot" => "os",
            "annotations" | "labels" | "run" | "restart" => "metadata",
            "smbios" => "sysinfo",
            "memory" | "cpu" | "clock" => head,
            _ => "devices",
        };
        self.domain.child(child).unwrap_or(self.domain)
    }
}
