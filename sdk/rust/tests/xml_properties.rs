//! The tree of documents against generated ones, another parser, and the documents of libvirt's own tests.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use witvirt_sdk::xml::{Document, Id};

// What has to hold for any text; the fuzz target runs it too.
#[path = "../../../tests/fuzz/bodies/xml.rs"]
mod body;

fn name() -> impl Strategy<Value = String> {
    "[a-c][a-c0-9._-]{0,2}|p:[a-c]|é"
}

/// Texts with all that has to be escaped, as they stand in a document.
fn raw() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -%(-;=?-~\t\n\ré€😀]{0,6}",
        Just("&lt;".to_owned()),
        Just("&#38;".to_owned()),
        Just("&#xD;".to_owned()),
        Just("&quot;".to_owned()),
        Just("\r\n".to_owned()),
        Just("]".to_owned()),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn attribute() -> impl Strategy<Value = String> {
    (
        prop_oneof![10 => name(), 1 => Just("xml:lang".to_owned())],
        raw(),
        "[ \t\n]{1,3}",
        "[ ]{0,1}",
        any::<bool>(),
    )
        .prop_map(|(name, value, blank, inner, double)| {
            let quote = if double { '"' } else { '\'' };
            let value = value.replace(quote, "");
            format!("{blank}{name}{inner}={inner}{quote}{value}{quote}")
        })
}

fn element() -> impl Strategy<Value = String> {
    let attributes = || proptest::collection::vec(attribute(), 0..3);
    let leaf = (name(), attributes(), "[ \n]{0,1}")
        .prop_map(|(name, attributes, blank)| format!("<{name}{}{blank}/>", attributes.concat()));
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let content = prop_oneof![
            4 => inner,
            2 => raw().prop_map(|text| text.replace("]]>", "")),
            2 => "\n {0,8}",
            1 => "[ -,.-~é\n\r]{0,8}".prop_map(|text| format!("<!--{text}-->")),
            1 => "[ -=@-~\r\n]{0,6}".prop_map(|text| format!("<?keep {text}?>")),
            1 => "[ -\\\\^-~\r]{0,8}".prop_map(|text| format!("<![CDATA[{text}]]>")),
        ];
        (
            name(),
            proptest::collection::vec(attribute(), 0..3),
            proptest::collection::vec(content, 0..5),
            "[ \n]{0,1}",
        )
            .prop_map(|(name, attributes, content, blank)| {
                format!("<{name}{}>{}</{name}{blank}>", attributes.concat(), content.concat())
            })
    })
}

fn document() -> impl Strategy<Value = String> {
    let prolog = proptest::sample::select(vec![
        "",
        "<?xml version='1.0'?>\n",
        "<?xml version=\"1.0\" encoding='UTF-8' standalone='no' ?>\r\n<!-- x -->",
        "\u{feff}\n",
    ]);
    (prolog, element(), "[ \n]{0,2}(<!--e-->)?")
        .prop_map(|(prolog, element, end)| format!("{prolog}<root xmlns:p='urn:p'>{element}</root>{end}"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    /// No-op identity, agreement with the other parser, and edits that are where they should be when read again.
    #[test]
    fn what_is_generated(source in document()) {
        body::run(source.as_bytes());
    }

    #[test]
    fn what_is_damaged(source in document(), edits in proptest::collection::vec((any::<u32>(), any::<u8>(), any::<u8>()), 1..4)) {
        let mut bytes = source.into_bytes();
        for (at, byte, kind) in edits {
            let at = at as usize % bytes.len();
            match kind % 3 {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, b"<>&;]'\"/=: "[usize::from(byte) % 11]),
            }
            if bytes.is_empty() { break; }
        }
        body::run(&bytes);
    }
}

fn shared() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/libvirt");
    path.is_dir().then_some(path)
}

fn xml_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            xml_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "xml") {
            found.push(path);
        }
    }
}

#[test]
fn documents_of_libvirt_survive() {
    let Some(shared) = shared() else {
        println!("skipped: libvirt's test documents are not at ../shared/data/libvirt");
        return;
    };
    let mut files = Vec::new();
    xml_files(&shared, &mut files);
    let mut read = 0;
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        read += usize::from(Document::parse(&text).is_ok());
        // No file has more than a handful of attributes that a body's edits could not reach.
        body::run(text.as_bytes());
    }
    assert!(read > 1000, "{read} of {} documents", files.len());
    println!("{read} of {} documents", files.len());
}

#[test]
fn agrees_on_lines() {
    let source = "<a>\n\n <b\n c='1'/></a>";
    let document = Document::parse(source).unwrap();
    let b: Id = document.find(document.root(), "b").unwrap();
    assert_eq!((document.line(b), document.attributes(b).next().unwrap().line()), (3, 4));
}
