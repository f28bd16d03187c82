//! libvirt's test documents: each is translated as libvirt does, or the table says what is different.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use witvirt_conformance::{Case, Grade, corpus, data, grade};

const TABLE: &str = "libvirt.tsv";

struct Row {
    tier: String,
    policy: Grade,
    translation: Option<Grade>,
    text: String,
}

fn row(case: &Case) -> Option<Row> {
    let document = case.document()?;
    if case.kind != "argv" {
        let policy = match corpus::our_line(&document, case.is_kvm()) {
            Ok(_) => Grade::Different(vec!["accepted".to_owned()]),
            Err(reason) => Grade::Refused(reason),
        };
        let text = format!("{}\t{}\t{policy}\t\t\n", case.name, case.kind);
        return Some(Row { tier: case.kind.clone(), policy, translation: None, text });
    }
    let line = case.line()?;
    let policy = grade(&document, case.is_kvm(), &line);
    let complete = case.complete_document().unwrap_or(document);
    let translation = grade(&complete, case.is_kvm(), &line);
    let text = format!("{}\t{}\t{policy}\t{translation}\n", case.name, case.tier);
    Some(Row { tier: case.tier.clone(), policy, translation: Some(translation), text })
}

fn summary(rows: &[Row]) -> String {
    let mut counts = BTreeMap::<(&str, &str), BTreeMap<&str, usize>>::new();
    for row in rows {
        let mut count = |score: &'static str, grade: &Grade| {
            *counts.entry((&row.tier, score)).or_default().entry(grade.word()).or_default() += 1;
        };
        count("as written", &row.policy);
        if let Some(grade) = &row.translation {
            count("completed", grade);
        }
    }
    let mut text = String::new();
    for ((tier, score), grades) in counts {
        let of = |word: &str| grades.get(word).copied().unwrap_or(0);
        let total: usize = grades.values().sum();
        writeln!(
            text,
            "# {tier:<12} {score:<11} {total:>4}: equal {}, harmless {}, different {}, refused {}",
            of("equal"),
            of("harmless"),
            of("different"),
            of("refused")
        )
        .unwrap();
    }
    text
}

#[test]
fn every_document_keeps_its_grade() {
    let Some(directory) = data("libvirt") else {
        println!("skipped: libvirt's test documents are not at ../shared/data/libvirt");
        return;
    };
    let rows: Vec<Row> = Case::all(&directory).unwrap().iter().filter_map(row).collect();
    assert!(rows.len() > 400, "{} cases", rows.len());
    let mut text = summary(&rows);
    println!("{text}");
    text.push_str("name\ttier\tas written\twhy\tcompleted\twhy\n");
    rows.iter().for_each(|row| text.push_str(&row.text));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(TABLE);
    if std::env::var_os("WITVIRT_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    let changed: Vec<_> = text
        .lines()
        .zip(kept.lines())
        .filter(|(now, before)| now != before)
        .map(|(now, before)| format!("was {before}\nis  {now}"))
        .take(20)
        .collect();
    assert!(text == kept, "WITVIRT_BLESS=1 accepts these changes of {TABLE}:\n{}", changed.join("\n"));
}
