//! Images that name the one below them by what it is, not only by where it is.

mod formats;

use std::sync::Arc;

use formats::{Bench, Installed, Scripted, Told};
use witvirt_core::extent::{Extent, ExtentKind, Page, Reference};
use witvirt_core::source::ByteSource;
use witvirt_disk::{ErrorKind, ImportRequest, Progress, SourceFile};

/// A format whose images are words: "family ID [PARENT-NAME PARENT-ID]". A disk is one sector of the first letter of the
/// lowest image's identity.
fn family() -> Installed {
    Installed(vec![Scripted::new("family", read)])
}

fn read(source: Arc<dyn ByteSource>) -> Told {
    let mut text = vec![0; source.size() as usize];
    source.read_at(&mut text, 0).unwrap();
    let text = String::from_utf8(text).unwrap();
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let mut facts = vec![("id".to_owned(), words[1].clone())];
    let mut references = Vec::new();
    let mut kind = ExtentKind::Literal(vec![words[1].as_bytes()[0]; 512]);
    if let [_, _, name, identity] = &words[..] {
        facts.push(("parent-id".to_owned(), identity.clone()));
        references.push(Reference {
            id: 1,
            role: "parent".into(),
            name: name.clone(),
            format_hint: Some("family".into()),
            required: true,
        });
        kind = ExtentKind::Parent;
    }
    let page = move |start, length, _| Page {
        extents: vec![Extent { start, length, kind: kind.clone() }],
        next: None,
    };
    Told { virtual_size: 512, facts, references, page: Box::new(page), ..Told::default() }
}

fn import(bench: &Bench, name: &str) -> witvirt_disk::Result<witvirt_disk::Imported> {
    let request = ImportRequest::new(SourceFile::new(bench.path(name)));
    bench.store.import(bench.access(), &request, &Progress::new())
}

#[test]
fn a_parent_without_a_name_is_found_by_its_identity() {
    let bench = Bench::with(family());
    std::fs::write(bench.path("a-child"), "family c uuid:p p").unwrap();
    std::fs::write(bench.path("another"), "family x").unwrap();
    std::fs::write(bench.path("no-image"), "something else").unwrap();
    std::os::unix::fs::symlink("the-parent", bench.path("a-link")).unwrap();
    std::fs::write(bench.path("the-parent"), "family p").unwrap();
    let imported = import(&bench, "a-child").unwrap();
    assert_eq!(imported.record.origin.chain.len(), 1);
    assert!(
        imported.record.origin.chain[0].path.ends_with("/the-parent"),
        "{:?}",
        imported.record.origin.chain
    );

    std::fs::remove_file(bench.path("the-parent")).unwrap();
    let error = import(&bench, "a-child").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("\"p\""), "{error}");
}

#[test]
fn a_parent_that_was_replaced_or_changed_is_refused() {
    let bench = Bench::with(family());
    std::fs::write(bench.path("child"), "family c base p").unwrap();
    std::fs::write(bench.path("base"), "family p").unwrap();
    import(&bench, "child").unwrap();
    std::fs::write(bench.path("base"), "family q").unwrap();
    let error = import(&bench, "child").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("has q"), "{error}");
}

#[test]
fn an_image_that_is_its_own_parent_is_not_found_for_ever() {
    let bench = Bench::with(family());
    std::fs::write(bench.path("self"), "family s uuid:s s").unwrap();
    assert_eq!(import(&bench, "self").unwrap_err().kind(), ErrorKind::NotFound);
    std::fs::write(bench.path("one"), "family 1 uuid:2 2").unwrap();
    std::fs::write(bench.path("two"), "family 2 uuid:1 1").unwrap();
    let error = import(&bench, "one").unwrap_err();
    assert!(error.to_string().contains("below itself"), "{error}");
}
