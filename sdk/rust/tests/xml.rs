//! The tree of documents as plugins use it.

use witvirt_sdk::xml::{Document, Element, Fault, Id};

const DOMAIN: &str = "<?xml version='1.0' encoding=\"utf-8\"?>\r\n<!-- made by hand -->\r\n\
<domain type='kvm'   id = \"7\" xmlns:q='urn:q' >
\t<name>a &amp; b</name >
\t<unknown xmlns='urn:other'><x/></unknown><!-- here -->
\t<devices>
\t\t<disk type='file' q:note='&#x41;'\tdevice=\"disk\"><source file='/a'/></disk>

\t\t<disk\n\t\t\ttype='block'\n\t\t\tdevice='cdrom'>
\t\t</disk>
\t\t<?keep this?>
\t\t<q:odd><![CDATA[<&>]]> tail</q:odd>
\t</devices>
</domain>
<!-- end -->
";

fn parse(source: &str) -> Document {
    Document::parse(source).unwrap_or_else(|error| panic!("{error}: {source}"))
}

/// What an edit makes of a document; the result has to be a document that says the same.
fn edited(source: &str, edit: impl FnOnce(&mut Document)) -> String {
    let mut document = parse(source);
    assert_eq!(document.to_string(), source);
    edit(&mut document);
    let text = document.to_string();
    assert_eq!(parse(&text).to_string(), text);
    text
}

fn at(document: &Document, path: &str) -> Id {
    document.find(document.root(), path).unwrap_or_else(|| panic!("no {path}"))
}

#[test]
fn without_edits_nothing_changes() {
    for source in [DOMAIN, "\u{feff}<a/>", "<a/>", " <a></a>\n", "<a b='1'/><!----><?p?>", "<a>]] ]></a>"] {
        assert_eq!(parse(source).to_string(), source);
    }
}

#[test]
fn reads_names_values_texts_and_places() {
    let document = parse(DOMAIN);
    let root = document.root();
    assert_eq!((document.name(root), document.line(root)), ("domain", 3));
    assert_eq!(document.text(at(&document, "name")), "a & b");
    let disks = document.find_all(root, "devices/disk");
    assert_eq!(disks.len(), 2);
    assert_eq!(document.path(disks[1]), "/domain/devices/disk[2]");
    assert_eq!(document.line(disks[1]), 9);
    assert_eq!(document.attribute(disks[0], "{urn:q}note").as_deref(), Some("A"));
    assert_eq!(document.attribute(disks[0], "note"), None);
    assert_eq!(document.attribute(disks[1], "device").as_deref(), Some("cdrom"));
    let lines: Vec<_> = document.attributes(disks[1]).map(|attribute| attribute.line()).collect();
    assert_eq!(lines, [10, 11]);
    let odd = at(&document, "devices/{urn:q}odd");
    assert_eq!((document.prefix(odd), document.local_name(odd)), (Some("q"), "odd"));
    assert_eq!(document.text(odd), "<&> tail");
    assert_eq!(document.path(odd), "/domain/devices/q:odd");
    assert_eq!(document.find(root, "unknown"), None);
    let inside = at(&document, "{urn:other}unknown/{urn:other}x");
    assert_eq!(document.namespace(inside), Some("urn:other"));
    assert_eq!(document.attributes(root).count(), 2, "a declaration is no attribute");
    assert_eq!(document.children(at(&document, "devices")).count(), 3);
    assert_eq!((document.previous(disks[0]), document.next(disks[0])), (None, Some(disks[1])));
    assert_eq!((document.previous(odd), document.next(odd)), (Some(disks[1]), None));
    assert_eq!((document.previous(root), document.next(root)), (None, None));
}

#[test]
fn attributes_keep_their_quotes_and_places() {
    let text = edited(DOMAIN, |document| {
        let root = document.root();
        document.set_attribute(root, "id", "a\"b<\n");
        let disks = document.find_all(root, "devices/disk");
        document.set_attribute(disks[0], "{urn:q}note", "B");
        document.set_attribute(disks[0], "snapshot", "no");
        document.set_attribute(disks[1], "snapshot", "it's");
        document.remove_attribute(disks[1], "type");
        document.remove_attribute(disks[1], "nothing");
    });
    let expected = DOMAIN
        .replace("id = \"7\"", "id = \"a&quot;b&lt;&#10;\"")
        .replace("&#x41;", "B")
        .replace("device=\"disk\"", "device=\"disk\"\tsnapshot=\"no\"")
        .replace(
            "\n\t\t\ttype='block'\n\t\t\tdevice='cdrom'",
            "\n\t\t\tdevice='cdrom'\n\t\t\tsnapshot='it&apos;s'",
        );
    assert_eq!(text, expected);
}

#[test]
fn an_edit_that_says_the_same_changes_nothing() {
    let text = edited(DOMAIN, |document| {
        document.set_text(at(document, "name"), "a & b");
        let disk = at(document, "devices/disk");
        document.set_attribute(disk, "q:note", "A");
        assert_eq!(document.find_or_append(document.root(), "devices/disk"), disk);
        assert_eq!(document.declare_namespace(disk, "w", "urn:q"), "q");
    });
    assert_eq!(text, DOMAIN);
}

#[test]
fn texts_are_escaped_and_replace_what_was_there() {
    let text = edited("<a>\n  <b>x<!-- y -->z</b>\n  <c/>\n</a>", |document| {
        document.set_text(at(document, "b"), "1 < 2 && ]]> \u{1}");
        document.set_text(at(document, "c"), "new");
        assert_eq!(document.text(at(document, "b")), "1 < 2 && ]]> \u{1}");
    });
    assert_eq!(text, "<a>\n  <b>1 &lt; 2 &amp;&amp; ]]&gt; \u{fffd}</b>\n  <c>new</c>\n</a>");
}

#[test]
fn new_elements_follow_their_siblings() {
    let rng = || Element::new("rng").attribute("model", "virtio").child(Element::new("backend").text("x"));
    let text = edited(DOMAIN, |document| {
        let devices = at(document, "devices");
        document.append(devices, rng());
        let disks = document.find_all(document.root(), "devices/disk");
        document.insert_before(disks[1], Element::new("first"));
        document.insert_after(disks[0], Element::new("second"));
        document.append(document.root(), Element::new("last"));
    });
    let expected = DOMAIN
        .replace("</q:odd>", "</q:odd>\n\t\t<rng model='virtio'>\n\t\t\t<backend>x</backend>\n\t\t</rng>")
        .replace("</disk>\n\n\t\t<disk", "</disk>\n\t\t<second/>\n\n\t\t<first/>\n\t\t<disk")
        .replace("\t</devices>\n", "\t</devices>\n\t<last/>\n");
    assert_eq!(text, expected);
}

#[test]
fn the_first_child_is_indented_like_its_level() {
    let add = |source: &str, path: &str| {
        edited(source, |document| {
            let parent = at(document, path);
            document.append(parent, Element::new("x").child(Element::new("y")));
        })
    };
    assert_eq!(
        add("<a>\n    <b/>\n</a>", "b"),
        "<a>\n    <b>\n        <x>\n            <y/>\n        </x>\n    </b>\n</a>"
    );
    assert_eq!(
        add("<a>\r\n <b>\r\n </b>\r\n</a>", "b"),
        "<a>\r\n <b>\r\n  <x>\r\n   <y/>\r\n  </x>\r\n </b>\r\n</a>"
    );
    assert_eq!(add("<a><b/></a>", "b"), "<a><b><x><y/></x></b></a>");
    assert_eq!(add("<a><b><c/></b></a>", "b"), "<a><b><c/><x><y/></x></b></a>");
    assert_eq!(add("<a>\n  <b>text</b>\n</a>", "b"), "<a>\n  <b>text<x><y/></x></b>\n</a>");
    let root = edited("<a/>", |document| {
        let made = document.find_or_append(document.root(), "b/c");
        assert_eq!(document.path(made), "/a/b/c");
    });
    assert_eq!(root, "<a>\n  <b>\n    <c/>\n  </b>\n</a>");
}

#[test]
fn removing_takes_the_line_along() {
    let source = "<a>\n  <b/>\n  <c/> <d/>\n  text\n  <e/>\n</a>";
    let remove = |names: &[&str]| {
        edited(source, |document| {
            for name in names {
                document.remove(at(document, name));
            }
            document.remove(document.root());
        })
    };
    assert_eq!(remove(&["b"]), "<a>\n  <c/> <d/>\n  text\n  <e/>\n</a>");
    assert_eq!(remove(&["c"]), "<a>\n  <b/>\n   <d/>\n  text\n  <e/>\n</a>");
    assert_eq!(remove(&["e"]), "<a>\n  <b/>\n  <c/> <d/>\n  text\n  \n</a>");
    let only = edited("<a>\n  <b/>\n</a>", |document| document.remove(at(document, "b")));
    assert_eq!(only, "<a>\n</a>");
    let again = edited(&only, |document| {
        document.append(document.root(), Element::new("c"));
    });
    assert_eq!(again, "<a>\n  <c/>\n</a>");
}

#[test]
fn replacing_keeps_the_place() {
    let text = edited("<a>\n  <b>1</b>\n  <c/>\n</a>", |document| {
        let old = at(document, "b");
        let new = document.replace(old, Element::new("b").child(Element::new("d")));
        document.set_attribute(at(document, "b/d"), "n", "1");
        assert_eq!(document.path(new), "/a/b");
        assert_eq!((document.parent(old), document.text(old).as_ref()), (None, "1"));
        document.set_text(old, "nobody sees this");
    });
    assert_eq!(text, "<a>\n  <b>\n    <d n='1'/>\n  </b>\n  <c/>\n</a>");
}

#[test]
fn namespaces_are_declared_where_they_are_missing() {
    let text = edited("<a xmlns:w='urn:other'>\n  <m/>\n</a>", |document| {
        let metadata = at(document, "m");
        let machine = document.find_or_append(metadata, "{urn:w}machine");
        assert_eq!(document.namespace(machine), Some("urn:w"));
        assert_eq!(document.find_or_append(metadata, "{urn:w}machine"), machine);
        assert_eq!(document.declare_namespace(machine, "w", "urn:w"), "ns");
        let prefix = document.declare_namespace(metadata, "w", "urn:third");
        assert_eq!(prefix, "w1");
        document.set_attribute(metadata, "{urn:third}k", "v");
        let built = Element::new("w:x").attribute("xmlns:w", "urn:x").child(Element::new("w:y"));
        let built = document.append(document.root(), built);
        assert_eq!(document.namespace(built), Some("urn:x"));
        assert!(document.find(built, "{urn:x}y").is_some());
    });
    assert_eq!(
        text,
        "<a xmlns:w='urn:other'>\n  <m xmlns:w1='urn:third' w1:k='v'>\n    <ns:machine xmlns:ns='urn:w'/>\n  </m>\n  \
         <w:x xmlns:w='urn:x'>\n    <w:y/>\n  </w:x>\n</a>"
    );
}

#[test]
fn names_that_are_none_are_written_as_names() {
    let text = edited("<a xmlns:a='u'/>", |document| {
        document.set_attribute(document.root(), "1 2", "x");
        let made = document.append(document.root(), Element::new("").attribute("a:b:c", "y"));
        document.append(made, Element::new("<i>"));
    });
    assert_eq!(text, "<a xmlns:a='u' __2='x'>\n  <_ a:b_c='y'>\n    <_i_/>\n  </_>\n</a>");
}

fn refusal(source: &str) -> String {
    Document::parse(source).map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
}

#[test]
fn refuses_what_is_not_well_formed_and_says_where() {
    for (source, part) in [
        ("", "expected a root element (line 1, column 1)"),
        ("\n  text", "expected a root element (line 2, column 3)"),
        ("<a/><b/>", "nothing after the root element (line 1, column 5)"),
        ("<a/>x", "nothing after the root element"),
        ("<!DOCTYPE a><a/>", "document type declarations are not allowed"),
        ("<a>\n<b></a>", "</a> where <b> of line 2 is to be closed (line 2, column 4)"),
        ("<a", "the document ends inside a tag"),
        ("<a>x", "the document ends inside an element"),
        ("</a>", "expected an element"),
        ("<a></a b>", "the '>' of the end tag"),
        ("<a></ab>", "</ab> where <a>"),
        ("<a b=1/>", "a value in quotes"),
        ("<a b/>", "the '=' of an attribute"),
        ("<a b='1'c='2'/>", "a blank, '>' or '/>'"),
        ("<a b='1' b='2'/>", "the attribute b stands here twice (line 1, column 10)"),
        ("<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>", "the attribute q:b stands here twice"),
        ("<a b='<'/>", "'<' is not allowed here"),
        ("<a b='1", "the document ends inside an attribute's value"),
        (
            "<a>é&nbsp;</a>",
            "&nbsp; is not known: XML has &lt; &gt; &amp; &quot; &apos; and characters like &#10; (line 1, column 5)",
        ),
        ("<a>&#0;</a>", "&#0; is not known"),
        ("<a>&#x110000;</a>", "&#x110000; is not known"),
        ("<a>&#+1;</a>", "expected a reference"),
        ("<a>a & b</a>", "or &amp; in its place"),
        ("<a>]]></a>", "\"]]>\" in a text"),
        ("<a><!-- -- --></a>", "\"--\" inside a comment"),
        ("<a><!--", "the document ends inside a comment"),
        ("<a><![CDATA[", "the document ends inside a CDATA section"),
        ("<![CDATA[x]]><a/>", "an element, a comment or a processing instruction"),
        ("<a>\u{1}</a>", "XML cannot have the character \\u{1} (line 1, column 4)"),
        ("<a b='\u{fffe}'/>", "XML cannot have the character \\u{fffe}"),
        ("<a><!--\u{8}--></a>", "XML cannot have the character \\u{8}"),
        ("<p:a/>", "no namespace is declared for the prefix p: add xmlns:p"),
        ("<a p:b='1'/>", "prefix p"),
        ("<a xmlns:p=''/>", "xmlns:p is not allowed"),
        ("<a xmlns:xml='u'/>", "xmlns:xml is not allowed"),
        ("<a xmlns:xmlns='u'/>", "xmlns:xmlns is not allowed"),
        ("<1/>", "\"1\" is no name"),
        ("<a:b:c/>", "\"a:b:c\" is no name"),
        ("<a :b=''/>", "\":b\" is no name"),
        ("<>", "expected a name"),
        (" <?xml version='1.0'?><a/>", "only allowed as the very beginning"),
        ("<?xml encoding='utf-8'?><a/>", "version=\"1.0\" first"),
        ("<a><?x:y?></a>", "\"x:y\" is no name"),
        ("<a><?x", "expected ?>"),
    ] {
        let found = refusal(source);
        assert!(found.contains(part), "{source:?}: {found}");
    }
}

#[test]
fn bounds_size_depth_attributes_nodes_and_namespaces() {
    let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert_eq!(refusal(&nested(64)), "accepted");
    assert!(refusal(&nested(65)).contains("64 levels of elements (line 1, column 193)"));
    let wide = |count: usize| {
        let attributes: String = (0..count).map(|n| format!(" a{n}='='")).collect();
        format!("<a{attributes}/>")
    };
    assert_eq!(refusal(&wide(64)), "accepted");
    assert!(refusal(&wide(65)).contains("64 attributes"));
    let many = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count));
    assert_eq!(refusal(&many(65_000)), "accepted");
    assert!(refusal(&many(70_000)).contains("65536 nodes"));
    let declared = |count: usize| format!("<a>{}</a>", "<b xmlns:x='y'/>".repeat(count));
    assert_eq!(refusal(&declared(256)), "accepted");
    assert!(refusal(&declared(257)).contains("256 namespace"));
    assert!(refusal(&format!("<a>{}</a>", " ".repeat(4 << 20))).contains("4194304 bytes"));
    assert!(refusal(&format!("<{}/>", "a".repeat(1025))).contains("1024 bytes in a name"));
    assert!(
        matches!(Document::parse("<a>&x;</a>").unwrap_err().fault, Fault::Reference(name) if name == "x")
    );
}
