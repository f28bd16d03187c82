//! Writing into the tree: what instancetypes, preferences and defaults add to a machine.

use super::{Id, Kind, MAX_DEPTH, Tree};

impl Tree {
    /// Registers what values are copied from, "VirtualMachineClusterPreference fedora".
    pub(crate) fn add_origin(&mut self, origin: String) -> u16 {
        match u16::try_from(self.origins.len()) {
            Ok(index) => {
                self.origins.push(origin);
                index
            }
            Err(_) => 0,
        }
    }

    /// A value in a map, by name; nothing is marked. Null is as good as absent, as in Kubernetes.
    pub(crate) fn child(&self, map: Id, name: &str) -> Option<Id> {
        let Kind::Map(entries) = self.kind(map) else { return None };
        let id = entries.iter().find(|(key, _)| **key == *name).map(|(_, id)| *id)?;
        (*self.kind(id) != Kind::Null).then_some(id)
    }

    /// A value below a map, by names.
    pub(crate) fn find(&self, map: Id, path: &[&str]) -> Option<Id> {
        path.iter().try_fold(map, |at, name| self.child(at, name))
    }

    pub(crate) fn items(&self, list: Id) -> Vec<Id> {
        match self.kind(list) {
            Kind::List(items) => items.clone(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn text(&self, id: Id) -> Option<&str> {
        match self.kind(id) {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Puts a value into a map in place of what is there.
    pub(crate) fn insert(&mut self, map: Id, name: &str, value: Id) {
        self.nodes[value as usize].parent = map;
        if let Kind::Map(entries) = &mut self.nodes[map as usize].kind {
            match entries.iter_mut().find(|(key, _)| **key == *name) {
                Some(entry) => entry.1 = value,
                None => entries.push((name.into(), value)),
            }
        }
    }

    /// Adds a value to a map that has nothing of that name.
    pub(super) fn add_entry(&mut self, map: Id, name: &str, value: Id) {
        self.nodes[value as usize].parent = map;
        if let Kind::Map(entries) = &mut self.nodes[map as usize].kind {
            entries.push((name.into(), value));
        }
    }

    pub(crate) fn remove(&mut self, map: Id, name: &str) {
        if let Kind::Map(entries) = &mut self.nodes[map as usize].kind {
            entries.retain(|(key, _)| **key != *name);
        }
    }

    pub(crate) fn append(&mut self, list: Id, value: Id) {
        self.nodes[value as usize].parent = list;
        if let Kind::List(items) = &mut self.nodes[list as usize].kind {
            items.push(value);
        }
    }

    /// A new value beside another one, whose line it gets; `None` when the tree is full.
    pub(crate) fn make(&mut self, beside: Id, kind: Kind, origin: u16) -> Option<Id> {
        self.push(kind, self.node(beside).line, origin)
    }

    /// Writes a text below a map unless something is there. Whether the tree had room.
    pub(crate) fn default_text(&mut self, map: Id, name: &str, text: &str, origin: u16) -> Option<()> {
        self.default_kind(map, name, Kind::Text(text.into()), origin)
    }

    /// Writes a value below a map unless something is there.
    pub(crate) fn default_kind(&mut self, map: Id, name: &str, kind: Kind, origin: u16) -> Option<()> {
        if self.child(map, name).is_none() {
            let value = self.make(map, kind, origin)?;
            self.insert(map, name, value);
        }
        Some(())
    }

    /// Copies a value below a map unless something is there.
    pub(crate) fn default_copy(&mut self, map: Id, name: &str, source: Id, origin: u16) -> Option<()> {
        if self.child(map, name).is_none() {
            let copy = self.copy(source, origin)?;
            self.insert(map, name, copy);
        }
        Some(())
    }

    /// The map at a path, made where it is missing; `None` when something else is in the way or the tree is full.
    pub(crate) fn ensure_map(&mut self, mut at: Id, path: &[&str], origin: u16) -> Option<Id> {
        for name in path {
            at = match self.child(at, name) {
                Some(id) => id,
                None => {
                    let made = self.make(at, Kind::Map(Vec::new()), origin)?;
                    self.insert(at, name, made);
                    made
                }
            };
        }
        matches!(self.kind(at), Kind::Map(_)).then_some(at)
    }

    /// The list at a name, made where it is missing.
    pub(crate) fn ensure_list(&mut self, map: Id, name: &str, origin: u16) -> Option<Id> {
        self.default_kind(map, name, Kind::List(Vec::new()), origin)?;
        let list = self.child(map, name)?;
        matches!(self.kind(list), Kind::List(_)).then_some(list)
    }

    /// A copy of a value with all that is in it; `None` when the tree is full.
    pub(crate) fn copy(&mut self, source: Id, origin: u16) -> Option<Id> {
        let node = self.node(source);
        let (line, kind) = (node.line, node.kind.clone());
        let origin = if origin == 0 { node.origin } else { origin };
        match kind {
            Kind::List(items) => {
                let list = self.push(Kind::List(Vec::with_capacity(items.len())), line, origin)?;
                for item in items {
                    let copy = self.copy(item, origin)?;
                    self.append(list, copy);
                }
                Some(list)
            }
            Kind::Map(entries) => {
                let map = self.push(Kind::Map(Vec::with_capacity(entries.len())), line, origin)?;
                for (name, value) in entries {
                    let copy = self.copy(value, origin)?;
                    self.add_entry(map, &name, copy);
                }
                Some(map)
            }
            scalar => self.push(scalar, line, origin),
        }
    }

    /// Levels of maps and lists from a value on.
    pub(super) fn depth(&self, id: Id) -> usize {
        let mut deepest = 0;
        let mut rest = vec![(id, 0)];
        while let Some((id, depth)) = rest.pop() {
            let children: Vec<Id> = match self.kind(id) {
                Kind::List(items) => items.clone(),
                Kind::Map(entries) => entries.iter().map(|(_, id)| *id).collect(),
                _ => continue,
            };
            deepest = deepest.max(depth + 1);
            if deepest > MAX_DEPTH {
                return deepest;
            }
            rest.extend(children.into_iter().map(|id| (id, depth + 1)));
        }
        deepest
    }
}
