//! docs/comparison.md as its reader sees it: a row for each behaviour, and what differs in any
//! answer.

use std::collections::BTreeMap;

/// The row of what is not told again for each behaviour.
const ANY: &str = "any";

/// What was seen of a behaviour.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) directly: String,
    pub(super) nginx: Vec<String>,
    pub(super) gateway: Vec<String>,
}

impl Row {
    /// As it stands on the page, without its last cell.
    fn cells(&self) -> [String; 3] {
        let list = |what: &[String]| {
            let quoted: Vec<_> = what.iter().map(|one| format!("`{one}`")).collect();
            quoted.join(", ")
        };
        [self.directly.clone(), list(&self.nginx), list(&self.gateway)]
    }
}

/// The cells of each row, by the first.
pub(super) struct Page {
    rows: BTreeMap<String, Vec<String>>,
}

impl Page {
    pub(super) fn read() -> Self {
        let text = include_str!("../../../docs/comparison.md");
        let lines = text.lines().filter(|line| line.starts_with("| "));
        let lines = lines.filter(|line| !line.starts_with("| ---"));
        let rows = lines.map(|line| {
            // A bar that is escaped is part of its cell.
            let inner = line.trim_matches('|').replace("\\|", "\0");
            let cells = inner.split('|').map(|cell| cell.trim().replace('\0', "\\|"));
            let cells: Vec<_> = cells.collect();
            (cells[0].clone(), cells[1..].to_vec())
        });
        Self { rows: rows.filter(|(_, cells)| cells.len() == 4).collect() }
    }

    /// What the page says and is not so, and what is so and the page does not say.
    pub(super) fn compare(mut self, mut rows: Vec<Row>) -> Vec<String> {
        let mut wrong = Vec::new();
        self.rows.remove("behaviour");
        let any = self.rows.remove(ANY).unwrap_or_default();
        let quoted = |cell: usize| -> Vec<String> {
            let cell = any.get(cell).map(String::as_str).unwrap_or_default();
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
        };
        for cell in [1, 2] {
            let mut unseen = quoted(cell);
            for row in rows.iter_mut() {
                let found = if cell == 1 { &mut row.nginx } else { &mut row.gateway };
                unseen.retain(|one| !found.contains(one));
                found.retain(|one| !quoted(cell).contains(one));
            }
            wrong.extend(unseen.iter().map(|one| format!("in no answer any more: {one}")));
        }
        for row in rows {
            let expected = row.cells();
            let said = self.rows.remove(&row.name).unwrap_or_default();
            let is_said = said.get(..3).is_some_and(|cells| cells == expected);
            let why = said.get(3).map(String::as_str).unwrap_or_default();
            if !is_said || row.gateway.is_empty() != why.is_empty() {
                let [directly, nginx, gateway] = expected;
                wrong.push(format!("| {} | {directly} | {nginx} | {gateway} | {why} |", row.name));
            }
        }
        wrong.extend(self.rows.into_keys().map(|name| format!("no such behaviour: {name}")));
        wrong
    }
}
