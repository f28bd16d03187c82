//! What holds for the tree of any XML document, with roxmltree for comparison.

use witvirt_sdk::xml::{Document, Element, Fault, Id};

pub fn run(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let reference = roxmltree::Document::parse(source);
    let document = match Document::parse(source) {
        Ok(document) => document,
        Err(error) => {
            let lines = source.lines().count().max(1) + usize::from(source.ends_with('\n'));
            assert!(error.line >= 1 && error.line as usize <= lines, "{error}: {source:?}");
            assert!(reference.is_err() || stricter(&error.fault), "{error}: {source:?}");
            return;
        }
    };
    assert_eq!(document.to_string(), source);
    match reference {
        Ok(reference) => compare(&document, document.root(), reference.root_element()),
        Err(error) => assert!(laxer(source), "{error}: {source:?}"),
    }
    edit(source);
}

/// What the other parser takes, and we do not: whatever passes a bound, and rules that it is not strict about.
fn stricter(fault: &Fault) -> bool {
    match fault {
        Fault::TooMany { .. } | Fault::Doctype | Fault::Declaration(_) | Fault::XmlDeclaration => true,
        // It reads ":a" as a.
        Fault::Name(name) => name.contains(':'),
        // Nor does it mind what comes after the target of a processing instruction.
        Fault::Expected(what) => *what == "?>",
        _ => false,
    }
}

/// What we take, and the other does not.
fn laxer(source: &str) -> bool {
    // It knows version 1.0 alone, and no elements of XML's own namespace.
    source.contains("<?xml") || source.contains("<xml:")
}

fn compare(document: &Document, id: Id, node: roxmltree::Node<'_, '_>) {
    assert_eq!(document.local_name(id), node.tag_name().name());
    assert_eq!(document.namespace(id), node.tag_name().namespace());
    let line = node.document().text_pos_at(node.range().start).row;
    assert_eq!(document.line(id), line);
    let read =
        |text: &str| if lone_return(document.source()) { text.replace('\r', "\n") } else { text.to_owned() };
    let ours: Vec<_> =
        document.attributes(id).map(|a| (a.namespace(), a.local_name(), read(a.value()))).collect();
    let theirs: Vec<_> = node.attributes().map(|a| (a.namespace(), a.name(), read(a.value()))).collect();
    assert_eq!(ours, theirs);
    let texts = node.children().filter(|child| child.is_text()).filter_map(|child| child.text());
    assert_eq!(read(&document.text(id)), read(&texts.collect::<String>()));
    let children: Vec<_> = document.children(id).collect();
    let elements: Vec<_> = node.children().filter(|child| child.is_element()).collect();
    assert_eq!(children.len(), elements.len());
    for (child, element) in children.into_iter().zip(elements) {
        compare(document, child, element);
    }
}

/// Carriage returns on their own: before a reference, the other parser does not read them as line ends.
fn lone_return(source: &str) -> bool {
    source.replace("\r\n", "").contains('\r')
}

/// One of each edit, at places that the document's length chooses; what is read again is what was meant.
fn edit(source: &str) {
    let Ok(mut document) = Document::parse(source) else { return };
    let elements = descendants(&document, document.root());
    let pick = |n: usize| elements[(source.len() / 3 + n * 7) % elements.len()];
    let value = &source[..source.floor_char_boundary(40)];
    document.set_attribute(pick(0), "edited", value);
    let added = document.append(
        pick(1),
        Element::new("added").attribute("a", value).child(Element::new("inner").text(value)),
    );
    let before = document.insert_before(pick(2), Element::new("before"));
    let after = document.insert_after(pick(2), Element::new("after"));
    let leaf = document.find_or_append(added, "leaf/deep");
    document.set_text(leaf, value);
    check(&document);
    document.remove_attribute(pick(0), "edited");
    for made in [before, after, added] {
        document.remove(made);
    }
    check(&document);
    if document.parent(pick(3)).is_some() {
        document.replace(pick(3), Element::new("instead"));
    }
    check(&document);
}

/// The same after writing and reading, names, attributes and texts.
fn check(document: &Document) {
    let text = document.to_string();
    let again = Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
    assert_eq!(again.to_string(), text);
    same(document, document.root(), &again, again.root());
}

fn same(one: &Document, a: Id, other: &Document, b: Id) {
    assert_eq!((one.name(a), one.namespace(a)), (other.name(b), other.namespace(b)));
    let attributes = |document: &Document, id| -> Vec<(String, String)> {
        document.attributes(id).map(|a| (a.name().to_owned(), a.value().to_owned())).collect()
    };
    // What XML cannot have is written as a character that it can.
    let legal = |text: &str| text.replace(|c: char| c < ' ' && !"\t\n\r".contains(c), "\u{fffd}");
    let ours: Vec<_> = attributes(one, a).into_iter().map(|(name, value)| (name, legal(&value))).collect();
    assert_eq!(ours, attributes(other, b));
    assert_eq!(legal(&one.text(a)), other.text(b));
    assert_eq!(one.path(a), other.path(b));
    assert_eq!(one.children(a).count(), other.children(b).count());
    for (a, b) in one.children(a).zip(other.children(b)) {
        same(one, a, other, b);
    }
}

fn descendants(document: &Document, id: Id) -> Vec<Id> {
    let mut all = vec![id];
    let mut at = 0;
    while at < all.len() && all.len() < 10_000 {
        all.extend(document.children(all[at]));
        at += 1;
    }
    all
}
