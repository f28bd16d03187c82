//! Every hostile case, by the path that a daemon takes; several at a time, each process has one.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::sync::Mutex;

use witvirt_hostile::case::Case;
use witvirt_hostile::judge::faults;
use witvirt_hostile::plugins;
use witvirt_hostile::run::{Bench, Run};
use witvirt_hostile::{cases, judge};

const PROGRAM: &str = env!("CARGO_BIN_EXE_witvirt-hostile");

#[test]
fn every_case_ends_as_it_has_to() {
    if !plugins::built() {
        return;
    }
    let first = Bench::new(PROGRAM).unwrap();
    let all = cases::all(&first.place());
    assert!(all.len() >= 120, "{} cases", all.len());
    let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "two cases have the same name");
    let only = std::env::var("HOSTILE_CASE").ok();
    let wanted = all.iter().filter(|case| only.as_ref().is_none_or(|only| case.name.contains(only.as_str())));
    let (queue, results) = (Mutex::new(wanted), Mutex::new(Vec::new()));
    let work = |bench: &Bench| {
        loop {
            let Some(case) = queue.lock().unwrap().next() else { return };
            let run = bench.run(case).unwrap();
            let found = faults(case, &run);
            println!("{}", line(case, &run));
            results.lock().unwrap().push((case, run, found));
        }
    };
    println!("{:<44} {:>8} {:>6} {:>4}  end", "case", "seconds", "busy", "MiB");
    std::thread::scope(|scope| {
        let lanes = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 8);
        for _ in 1..lanes {
            scope.spawn(|| work(&Bench::new(PROGRAM).unwrap()));
        }
        work(&first);
    });
    let results = results.into_inner().unwrap();
    let outcomes = || results.iter().filter_map(|(_, run, _)| run.outcome.as_ref());
    let busy = outcomes().map(|outcome| outcome.busy).fold(0.0, f64::max);
    let memory = outcomes().map(|outcome| outcome.peak.saturating_sub(outcome.idle)).max();
    println!(
        "{} cases; at most {busy:.2} s busy (limit {}) and {} MiB (limit {})",
        results.len(),
        judge::SECONDS,
        memory.unwrap_or_default() >> 20,
        judge::MEMORY >> 20
    );
    let told = |(case, _, found): &(&Case, Run, Vec<String>)| {
        found.iter().map(|fault| format!("{}: {fault}", case.name)).collect::<Vec<_>>()
    };
    let wrong: Vec<String> = results.iter().flat_map(told).collect();
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}

fn line(case: &Case, run: &Run) -> String {
    let Some(outcome) = &run.outcome else { return format!("{:<44} was killed or died", case.name) };
    let grown = outcome.peak.saturating_sub(outcome.idle) >> 20;
    let end = match &outcome.result {
        Ok(_) => "imported".to_owned(),
        Err(failure) => format!("{}: {:.150}", failure.kind, failure.message),
    };
    format!("{:<44} {:>8.3} {:>6.3} {grown:>4}  {end}", case.name, outcome.seconds, outcome.busy)
}
