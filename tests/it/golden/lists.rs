//! The two lists beside the recordings: what differs on purpose, and what is not built yet.

use std::collections::BTreeSet;

use super::case::root;
use super::compare::Difference;

/// A case that differs on purpose.
pub struct Deviation {
    pub case: String,
    /// What may differ; everything else may not.
    pub what: BTreeSet<String>,
}

/// Cases that cannot pass yet.
pub struct Pending {
    /// A case, or the beginning of names and `*`.
    pub pattern: String,
    /// What is missing.
    pub missing: String,
}

impl Deviation {
    /// `spec/golden/deviations.txt`: the case, a colon, and what differs, separated by commas;
    /// then the reason on indented lines. `step 2` is everything in that step.
    pub fn all() -> Vec<Self> {
        Self::of("spec/golden")
    }

    /// The list of a folder.
    pub fn of(folder: &str) -> Vec<Self> {
        let text = std::fs::read_to_string(root().join(folder).join("deviations.txt")).unwrap();
        let mut deviations = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with([' ', '#']) && !line.is_empty()) {
            let (case, what) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
            let what = what.split(", ").map(str::to_owned).collect();
            deviations.push(Self { case: case.to_owned(), what });
        }
        let indented = |line: &&str| line.starts_with("  ") && line.len() > 20;
        let reasons = text.lines().filter(indented).count();
        assert!(reasons >= deviations.len(), "deviations.txt: every case needs its reason");
        deviations
    }

    /// What is wrong with the line, given how the case went.
    pub fn verdict(&self, differences: &[Difference]) -> Vec<String> {
        let is = |what: &str, one: &Difference| {
            one.what == what || what.strip_prefix("step ") == Some(&one.step.to_string())
        };
        let stale = self.what.iter().filter(|what| !differences.iter().any(|one| is(what, one)));
        let stale = stale.map(|what| format!("deviations.txt: {what} is as recorded, drop it"));
        let listed = |one: &&Difference| self.what.iter().any(|what| is(what, one));
        let others = differences.iter().filter(|one| !listed(one)).map(show);
        stale.chain(others).collect()
    }
}

impl Pending {
    /// `spec/golden/pending.txt`: a case or pattern, and what it waits for.
    pub fn all() -> Vec<Self> {
        let text = read("pending.txt");
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let pending = lines.map(|line| {
            let (pattern, missing) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
            Self { pattern: pattern.to_owned(), missing: missing.trim().to_owned() }
        });
        pending.collect()
    }

    /// Whether a case is meant.
    pub fn covers(&self, case: &str) -> bool {
        let start = self.pattern.strip_suffix('*');
        start.map_or(self.pattern == case, |start| case.starts_with(start))
    }
}

/// A difference on a line.
pub fn show(one: &Difference) -> String {
    format!("step {}: {}: {}", one.step, one.what, one.detail)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join("spec/golden").join(file)).unwrap()
}
