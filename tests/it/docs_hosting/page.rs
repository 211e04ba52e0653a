//! docs/azure-hosting.md as its reader sees it: sections with a configuration, variables, what
//! `silverback identity` says when it is well, and what it says when it is not.

use std::collections::BTreeMap;

/// The page, by headings.
pub struct Page {
    pub sections: BTreeMap<&'static str, Section>,
    /// The sections that the table at the top leads to.
    pub linked: Vec<String>,
}

/// What stands under a heading.
#[derive(Default)]
pub struct Section {
    /// The YAML: the whole file, or members of the plugin's `config`.
    pub yaml: String,
    /// The table of variables.
    pub variables: Vec<(&'static str, &'static str)>,
    /// The block of text: what is printed when all is well.
    pub well: String,
    /// The table of problems, each with what to do: the first code of either cell.
    pub rows: Vec<(&'static str, &'static str)>,
}

impl Page {
    pub fn read() -> Self {
        let text = include_str!("../../../docs/azure-hosting.md");
        let mut page = Self { sections: BTreeMap::new(), linked: Vec::new() };
        let (mut heading, mut fence, mut table) = ("", None, "");
        for line in text.lines() {
            let section = page.sections.entry(heading).or_default();
            match (fence, line.strip_prefix("```")) {
                (None, Some(language)) => fence = Some(language),
                (Some(_), Some(_)) => fence = None,
                (Some("yaml"), None) => section.yaml += &format!("{line}\n"),
                (Some("text"), None) => section.well += &format!("{line}\n"),
                (Some(_), None) => {}
                (None, None) => match line.strip_prefix("## ") {
                    Some(found) => heading = found,
                    None => table = page.row(heading, table, line),
                },
            }
        }
        page
    }

    /// Takes a line that may be a row of a table, and says which table the next line is in.
    fn row(
        &mut self,
        heading: &'static str,
        table: &'static str,
        line: &'static str,
    ) -> &'static str {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let section = self.sections.entry(heading).or_default();
        match (line.starts_with('|'), table) {
            (false, _) => return "",
            (true, "") => return cells[0],
            (true, _) if line.starts_with("| ---") => {}
            (true, "variable") => section.variables.push((code(cells[0]), code(cells[1]))),
            (true, "problem") => section.rows.push((code(cells[0]), code(cells[1]))),
            (true, _) => {
                let links = line.split("](#").skip(1);
                let anchors = links.filter_map(|link| Some(link.split_once(')')?.0.to_owned()));
                self.linked.extend(anchors);
            }
        }
        table
    }

    pub fn section(&self, heading: &str) -> &Section {
        self.sections.get(heading).unwrap_or_else(|| panic!("no section '{heading}'"))
    }

    /// The whole configuration of a section: the file, with the section's members in place of its
    /// own.
    pub fn config(&self, heading: &str) -> String {
        let mut file = self.section("The file").yaml.clone();
        let section = self.section(heading);
        if section.yaml.is_empty() || heading == "The file" {
            return file;
        }
        let indented: String =
            section.yaml.lines().map(|line| format!("        {line}\n")).collect();
        for line in section.yaml.lines().filter(|line| !line.starts_with(' ')) {
            file = without(&file, &format!("        {line}"));
        }
        file + &indented
    }
}

/// The first text between backquotes.
fn code(cell: &'static str) -> &'static str {
    cell.split('`').nth(1).unwrap_or_else(|| panic!("no code in '{cell}'"))
}

/// YAML without the block that this line begins.
fn without(file: &str, first: &str) -> String {
    let depth = |line: &str| line.len() - line.trim_start().len();
    let (mut is_inside, mut is_found) = (false, false);
    let kept = file.lines().filter(|line| {
        is_inside = *line == first || is_inside && depth(line) > depth(first);
        is_found |= is_inside;
        !is_inside
    });
    let kept: String = kept.map(|line| format!("{line}\n")).collect();
    assert!(is_found, "'{first}' is not in the file");
    kept
}
