//! libvirt's test documents: each is translated as libvirt does, or the table says what is different.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use witvirt_conformance::options::properties;
use witvirt_conformance::{Case, Grade, corpus, data, grade};

const TABLE: &str = "libvirt.tsv";

/// What libvirt refuses, and witvirt accepts.
fn accepted(rows: &[Row]) -> BTreeSet<String> {
    let accepted =
        rows.iter().filter(|row| row.translation.is_none() && matches!(row.policy, Grade::Different(_)));
    accepted.filter_map(|row| row.text.split('\t').next()).map(str::to_owned).collect()
}

/// The names in the list of such cases; each has a reason.
fn listed() -> BTreeSet<String> {
    let list = include_str!("../accepted.tsv");
    let rows = list.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once('\t').unwrap());
    rows.inspect(|(name, reason)| assert!(!reason.is_empty(), "{name}"))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The corpus comes with a reader of its own (`canon.py`): both read the same options in every line.
#[test]
fn lines_are_read_as_the_oracle_reads_them() {
    let Some(directory) = data("libvirt") else {
        println!("skipped: libvirt's test documents are not at ../shared/data/libvirt");
        return;
    };
    let script = r#"
import sys, json
sys.path.insert(0, sys.argv[1])
import canon
def flat(key, value, found):
    if isinstance(value, (dict, list)):
        for k, v in (value.items() if isinstance(value, dict) else enumerate(value)):
            flat(f"{key}.{k}" if key else str(k), v, found)
    else:
        found[key] = value
    return found
for name in sys.argv[2:]:
    options = canon.parse(f"{sys.argv[1]}/qemuxmlconf-x86_64-latest/{name}.x86_64-latest.args")[1]
    known = [(k, v) for k, v in options if v is not None and k in canon.IMPLIED]
    print(json.dumps([[k[1:], flat("", canon.opts(k, v), {})] for k, v in known]))
"#;
    let cases = Case::all(&directory).unwrap();
    let cases: Vec<_> = cases.iter().filter(|case| case.line().is_some()).collect();
    let asked = Command::new("python3")
        .args(["-B", "-c", script])
        .arg(&directory)
        .args(cases.iter().map(|case| &case.name))
        .output();
    let Ok(asked) = asked else {
        println!("skipped: python3 is not installed");
        return;
    };
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let answers = String::from_utf8(asked.stdout).unwrap();
    assert_eq!(answers.lines().count(), cases.len());
    for (case, answer) in cases.iter().zip(answers.lines()) {
        let theirs: Vec<(String, BTreeMap<String, String>)> = serde_json::from_str(answer).unwrap();
        let mut theirs = theirs.into_iter();
        for argument in case.line().unwrap() {
            let Some(value) = argument.value.filter(|_| IMPLIED.contains(&argument.name.as_str())) else {
                continue;
            };
            let ours = (argument.name.clone(), properties(&argument.name, &value));
            assert_eq!(theirs.next(), Some(ours), "{}", case.name);
        }
        assert_eq!(theirs.next(), None, "{}", case.name);
    }
}

/// The options that the oracle takes apart.
const IMPLIED: &[&str] = &[
    "device", "object", "netdev", "chardev", "machine", "accel", "cpu", "smp", "m", "numa", "fsdev",
    "tpmdev", "audiodev", "vnc", "name", "display", "compat",
];

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
    assert_eq!(
        accepted(&rows),
        listed(),
        "accepted.tsv lists what libvirt refuses and witvirt does not, and why"
    );
    assert!(text == kept, "WITVIRT_BLESS=1 accepts these changes of {TABLE}:\n{}", changed.join("\n"));
}
