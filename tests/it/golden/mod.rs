//! The recordings of a real Kong, replayed over sockets.
//!
//! Every folder of `spec/golden/recorded` either passes, or is in `deviations.txt` and differs in
//! just what it says there, or is in `pending.txt` and fails. `GOLDEN=ai-stream` replays only the
//! cases that begin so.

mod case;
mod client;
mod compare;
mod lists;
mod metrics;
mod mock;
mod places;
mod probes;
mod record;
mod replay;
mod unmodified;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use case::{Case, root};
use compare::Difference;
use lists::{Deviation, Pending, show};

/// Cases under way at once. They wait more than they work.
const PARALLEL: usize = 8;

#[test]
fn recordings_of_kong_are_replayed() {
    let (deviations, pending) = (Deviation::all(), Pending::all());
    let mut faults = Vec::new();
    let mut counts = [0, 0, 0];
    let cases = chosen();
    for (case, differences) in cases.iter().zip(replay_all(&cases, None)) {
        let deviation = deviations.iter().find(|one| one.case == case.name);
        let waits = pending.iter().find(|one| one.covers(&case.name));
        let (kind, complaints) = match (deviation, waits) {
            (Some(_), Some(_)) => (1, vec!["it is both deviating and pending".to_owned()]),
            (Some(deviation), None) => (1, deviation.verdict(&differences)),
            (None, Some(waits)) if differences.is_empty() => {
                (2, vec![format!("pending.txt: it passes without '{}'", waits.missing)])
            }
            (None, Some(_)) => (2, Vec::new()),
            (None, None) => (0, differences.iter().map(show).collect()),
        };
        counts[kind] += usize::from(complaints.is_empty());
        if !complaints.is_empty() {
            faults.push(format!("{}\n    {}", case.name, complaints.join("\n    ")));
        }
    }
    let [passed, deviating, waiting] = counts;
    println!("golden: {passed} passed, {deviating} deviations, {waiting} pending");
    assert!(faults.is_empty(), "{} cases:\n{}", faults.len(), faults.join("\n"));
}

/// All cases, or those that `GOLDEN` names.
fn chosen() -> Vec<Case> {
    let start = std::env::var("GOLDEN").unwrap_or_default();
    Case::all().into_iter().filter(|case| case.name.starts_with(&start)).collect()
}

/// Only one list of cases at a time: their clients have six seconds of patience.
fn replay_all(cases: &[Case], lua: Option<&Path>) -> Vec<Vec<Difference>> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Vec<Difference>>> = cases.iter().map(|_| Mutex::default()).collect();
    let work = || {
        while let Some((n, case)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, cases.get(n)?)))
        {
            let differences = catch_unwind(AssertUnwindSafe(|| replay::case(case, lua)));
            *done[n].lock().unwrap() = differences.unwrap_or_else(|_| vec![panicked()]);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(work);
        }
    });
    done.into_iter().map(|one| one.into_inner().unwrap()).collect()
}

fn panicked() -> Difference {
    let detail = "see above".to_owned();
    Difference { step: 0, what: "panic".to_owned(), detail }
}

#[test]
fn lists_name_recordings_that_exist() {
    let cases = Case::all();
    let known: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    for deviation in Deviation::all() {
        assert!(known.contains(deviation.case.as_str()), "deviations.txt: {}", deviation.case);
    }
    for pending in Pending::all() {
        let covers = known.iter().any(|case| pending.covers(case));
        assert!(covers, "pending.txt: {} names no case", pending.pattern);
    }
}

/// The table that operators read has a row for every deviation, and none besides.
#[test]
fn the_document_lists_the_deviations() {
    let text = std::fs::read_to_string(root().join("docs/compatibility.md")).unwrap();
    let (_, table) = text.split_once("## Deviations that recordings show").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let rows: BTreeSet<&str> = rows.map(|(case, _)| case).collect();
    let deviations = Deviation::all();
    let listed: BTreeSet<&str> = deviations.iter().map(|one| one.case.as_str()).collect();
    assert_eq!(rows, listed, "docs/compatibility.md (left), spec/golden/deviations.txt (right)");
}
