//! Every hostile case, each in a process of its own, by the path that a daemon takes.
#![allow(missing_docs)]

use std::collections::BTreeSet;

use witvirt_hostile::cases;
use witvirt_hostile::judge::{SECONDS, faults};
use witvirt_hostile::plugins;
use witvirt_hostile::run::Bench;

#[test]
fn every_case_ends_as_it_has_to() {
    if !plugins::built() {
        return;
    }
    let bench = Bench::new(env!("CARGO_BIN_EXE_witvirt-hostile")).unwrap();
    let all = cases::all(&bench.place());
    assert!(all.len() >= 120, "{} cases", all.len());
    let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "two cases have the same name");
    let only = std::env::var("HOSTILE_CASE").ok();
    let (mut wrong, mut slow) = (Vec::new(), Vec::new());
    println!("{:<44} {:>8} {:>5}  end", "case", "seconds", "MiB");
    for case in all.iter().filter(|case| only.as_ref().is_none_or(|only| case.name.contains(only.as_str()))) {
        let run = bench.run(case).unwrap();
        let found = faults(case, &run);
        if let Some(outcome) = &run.outcome {
            let grown = outcome.peak.saturating_sub(outcome.idle) >> 20;
            let end = match &outcome.result {
                Ok(_) => "imported".to_owned(),
                Err(failure) => format!("{}: {:.150}", failure.kind, failure.message),
            };
            println!("{:<44} {:>8.3} {grown:>5}  {end}", case.name, outcome.seconds);
            if outcome.seconds > 1.0 {
                slow.push(format!("{} ({:.1} s)", case.name, outcome.seconds));
            }
        }
        wrong.extend(found.into_iter().map(|fault| format!("{}: {fault}", case.name)));
    }
    println!("{} cases; longer than 1 s (limit here: {SECONDS} s): {slow:?}", all.len());
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}
