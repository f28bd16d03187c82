//! The shape of a WIT package: a set of lines, one for each thing that a compiled plugin depends on.

use std::collections::BTreeSet;
use std::path::Path;

use wit_parser::{
    Function, Handle, InterfaceId, PackageId, Resolve, Stability, Type, TypeDefKind, TypeId, TypeOwner,
    WorldId, WorldItem, WorldKey,
};

/// A package as of one version.
pub struct Package {
    /// "witvirt:disk".
    pub name: String,
    /// "0.1.0".
    pub version: String,
    /// Its shape.
    pub items: BTreeSet<String>,
    /// Items without `@since`.
    pub unversioned: Vec<String>,
}

/// The packages of the contract.
pub fn contract(wit: &Path) -> Vec<Package> {
    let mut resolve = Resolve::default();
    let packages = ["types", "disk", "domain", "device", "artifact"]
        .map(|name| resolve.push_dir(wit.join(name)).unwrap().0);
    let count =
        std::fs::read_dir(wit).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(
        count,
        packages.len() + 1,
        "a directory in wit/ is neither a package known to this test nor frozen/"
    );
    packages.into_iter().map(|id| package(&resolve, id)).collect()
}

/// One package from text.
pub fn parse(text: &str) -> Package {
    let mut resolve = Resolve::default();
    let id = resolve.push_str("text.wit", text).unwrap();
    package(&resolve, id)
}

fn package(resolve: &Resolve, id: PackageId) -> Package {
    let package = &resolve.packages[id];
    let mut shape = Shape { resolve, items: BTreeSet::new(), unversioned: Vec::new() };
    for (name, id) in &package.interfaces {
        shape.interface(name, *id);
    }
    for (name, id) in &package.worlds {
        shape.world(name, *id);
    }
    Package {
        name: format!("{}:{}", package.name.namespace, package.name.name),
        version: package.name.version.as_ref().map(ToString::to_string).unwrap_or_default(),
        items: shape.items,
        unversioned: shape.unversioned,
    }
}

struct Shape<'a> {
    resolve: &'a Resolve,
    items: BTreeSet<String>,
    unversioned: Vec<String>,
}

impl Shape<'_> {
    fn interface(&mut self, name: &str, id: InterfaceId) {
        let interface = &self.resolve.interfaces[id];
        self.since(name, &interface.stability);
        for (item, id) in &interface.types {
            let kind = &self.resolve.types[*id].kind;
            self.items.insert(format!("interface {name} type {item} = {}", self.kind(kind)));
            // What `use` brings in has its version where it is defined.
            if !matches!(kind, TypeDefKind::Type(_)) {
                self.since(&format!("{name}.{item}"), &self.resolve.types[*id].stability);
            }
        }
        for (item, function) in &interface.functions {
            self.items.insert(format!("interface {name} function {item}: {}", self.function(function)));
            self.since(&format!("{name}.{item}"), &function.stability);
        }
    }

    fn world(&mut self, name: &str, id: WorldId) {
        let world = &self.resolve.worlds[id];
        self.since(name, &world.stability);
        for (direction, items) in [("import", &world.imports), ("export", &world.exports)] {
            for (key, item) in items {
                let item = match (key, item) {
                    (WorldKey::Interface(id), _) => self.interface_name(*id),
                    (WorldKey::Name(name), WorldItem::Function(function)) => {
                        format!("{name}: {}", self.function(function))
                    }
                    (WorldKey::Name(name), _) => {
                        panic!("the contract has no inline interfaces or types in worlds: {name}")
                    }
                };
                self.items.insert(format!("world {name} {direction} {item}"));
            }
        }
    }

    fn since(&mut self, item: &str, stability: &Stability) {
        if !matches!(stability, Stability::Stable { .. }) {
            self.unversioned.push(item.to_owned());
        }
    }

    fn function(&self, function: &Function) -> String {
        let params: Vec<String> =
            function.params.iter().map(|param| format!("{}: {}", param.name, self.ty(&param.ty))).collect();
        let result = function.result.as_ref().map_or("nothing".to_owned(), |ty| self.ty(ty));
        format!("{} ({}) -> {result}", kind_word(function), params.join(", "))
    }

    fn kind(&self, kind: &TypeDefKind) -> String {
        let optional = |ty: &Option<Type>| ty.as_ref().map_or("_".to_owned(), |ty| self.ty(ty));
        match kind {
            TypeDefKind::Record(record) => {
                let fields =
                    record.fields.iter().map(|field| format!("{}: {}", field.name, self.ty(&field.ty)));
                format!("record {{ {} }}", fields.collect::<Vec<_>>().join(", "))
            }
            TypeDefKind::Variant(variant) => {
                let cases = variant.cases.iter().map(|case| format!("{}({})", case.name, optional(&case.ty)));
                format!("variant {{ {} }}", cases.collect::<Vec<_>>().join(", "))
            }
            TypeDefKind::Enum(cases) => {
                let names: Vec<&str> = cases.cases.iter().map(|case| case.name.as_str()).collect();
                format!("enum {{ {} }}", names.join(", "))
            }
            TypeDefKind::Flags(flags) => {
                let names: Vec<&str> = flags.flags.iter().map(|flag| flag.name.as_str()).collect();
                format!("flags {{ {} }}", names.join(", "))
            }
            TypeDefKind::Tuple(tuple) => {
                let types: Vec<String> = tuple.types.iter().map(|ty| self.ty(ty)).collect();
                format!("tuple<{}>", types.join(", "))
            }
            TypeDefKind::Resource => "resource".to_owned(),
            TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", self.type_name(*id)),
            TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", self.type_name(*id)),
            TypeDefKind::Option(ty) => format!("option<{}>", self.ty(ty)),
            TypeDefKind::Result(result) => {
                format!("result<{}, {}>", optional(&result.ok), optional(&result.err))
            }
            TypeDefKind::List(ty) => format!("list<{}>", self.ty(ty)),
            TypeDefKind::Type(ty) => self.ty(ty),
            other => panic!("the contract does not use {}", other.as_str()),
        }
    }

    fn ty(&self, ty: &Type) -> String {
        match ty {
            Type::Id(id) => self.type_name(*id),
            simple => format!("{simple:?}").to_lowercase(),
        }
    }

    /// A named type by its name, one without by its structure.
    fn type_name(&self, id: TypeId) -> String {
        let definition = &self.resolve.types[id];
        match (&definition.name, definition.owner) {
            (Some(name), TypeOwner::Interface(owner)) => format!("{}.{name}", self.interface_name(owner)),
            _ => self.kind(&definition.kind),
        }
    }

    /// Without the version, which the file's name has.
    fn interface_name(&self, id: InterfaceId) -> String {
        let name = self.resolve.id_of(id).unwrap();
        name.split('@').next().unwrap().to_owned()
    }
}

fn kind_word(function: &Function) -> &'static str {
    if format!("{:?}", function.kind).starts_with("Async") { "async" } else { "sync" }
}
