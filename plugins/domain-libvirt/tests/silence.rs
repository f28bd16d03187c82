//! Nothing in a document passes in silence: an attribute, element or text that nobody knows, wherever it is put, becomes a
//! diagnostic at its place, unless a diagnostic speaks for an element around it.

use std::fs;
use std::path::{Path, PathBuf};

use domain_libvirt::{Settings, convert};
use witvirt_sdk::core::domain::Diagnostic;

const NAME: &str = "zz-odd";

fn documents() -> Vec<(PathBuf, String)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = here.join("../../../shared/data/libvirt/qemuxmlconf-x86_64-latest");
    if !corpus.is_dir() {
        println!("libvirt's test documents are not at ../shared/data/libvirt: only our own are tried");
    }
    let mut documents = Vec::new();
    for directory in [here.join("tests/golden"), corpus] {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "xml") {
                documents.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    documents
}

/// Whether a diagnostic speaks for one of the elements, from the innermost out, as a whole.
fn covered(element: roxmltree::Node<'_, '_>, diagnostics: &[Diagnostic], xml: &str) -> bool {
    element.ancestors().filter(|node| node.is_element()).any(|node| {
        let start = format!("<{}>", node.tag_name().name());
        let line = xml[..node.range().start].matches('\n').count() as u32 + 1;
        diagnostics.iter().any(|d| d.line == Some(line) && d.message.starts_with(&start))
    })
}

fn listed(diagnostics: &[Diagnostic], ending: &str) -> bool {
    // What is over the bound of listed diagnostics is counted instead.
    diagnostics.iter().any(|d| {
        d.path.as_deref().is_some_and(|path| path.ends_with(ending))
            || d.code == "libvirt.diagnostics.truncated"
    })
}

/// Byte offset just behind the name in an element's start tag.
fn after_name(xml: &str, element: roxmltree::Node<'_, '_>) -> usize {
    let start = element.range().start + 1;
    start + xml[start..].find(|c: char| c.is_whitespace() || c == '>' || c == '/').unwrap()
}

#[test]
fn every_odd_attribute_is_reported() {
    let settings = Settings::default();
    let mut tried = 0;
    for (path, xml) in documents() {
        let Ok(document) = roxmltree::Document::parse(&xml) else { continue };
        for element in document.descendants().filter(|node| node.is_element()) {
            let mut odd = xml.clone();
            odd.insert_str(after_name(&xml, element), &format!(" {NAME}='1'"));
            let diagnostics = convert(&odd, None, &settings).unwrap().diagnostics;
            let seen = listed(&diagnostics, &format!("/@{NAME}")) || covered(element, &diagnostics, &xml);
            assert!(seen, "{}: attribute in <{}>\n{odd}", path.display(), element.tag_name().name());
            tried += 1;
        }
    }
    println!("{tried} places tried");
    assert!(tried > 300, "only {tried}");
}

#[test]
fn every_odd_element_and_text_is_reported() {
    let settings = Settings::default();
    let mut tried = 0;
    for (path, xml) in documents() {
        let Ok(document) = roxmltree::Document::parse(&xml) else { continue };
        for element in document.descendants().filter(|node| node.is_element()) {
            // Only where the element has an end tag to put something in front of.
            let end = element.range().end;
            let Some(at) = xml[..end].rfind("</").filter(|_| !xml[..end].ends_with("/>")) else { continue };
            let holds_text =
                element.children().any(|child| child.is_text() && !child.text().unwrap().trim().is_empty());
            let mut insertions = vec![(format!("<{NAME}/>"), format!("/{NAME}"))];
            if !holds_text && element.children().any(|child| child.is_element()) {
                insertions.push(("odd words".to_owned(), String::new()));
            }
            for (insertion, ending) in insertions {
                let mut odd = xml.clone();
                odd.insert_str(at, &insertion);
                let diagnostics = convert(&odd, None, &settings).unwrap().diagnostics;
                let text = ending.is_empty() && diagnostics.iter().any(|d| d.message.contains("odd words"));
                let seen = text
                    || (!ending.is_empty() && listed(&diagnostics, &ending))
                    || covered(element, &diagnostics, &xml);
                assert!(seen, "{}: {insertion} in <{}>\n{odd}", path.display(), element.tag_name().name());
                tried += 1;
            }
        }
    }
    println!("{tried} places tried");
    assert!(tried > 100, "only {tried}");
}
