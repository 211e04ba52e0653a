//! One error or warning about a configuration, with file, line and path.
//!
//! The text of an error is Kong's, so it can be searched for; what we add (the nearest known name,
//! where the first of two equal entities stands) is a hint beside it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::node::Pos;
use crate::distance::distance;
use crate::schema::Step;
use crate::snapshot::Place;

/// One error or warning about a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The name of the source.
    pub file: Arc<str>,
    /// From 1; 0 when the problem has no line.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The way to the value, inside its file; empty for a text that could not be read.
    pub path: Path,
    /// Kong's text, where Kong has one.
    pub message: String,
    /// What we add to Kong's text.
    pub hint: Option<String>,
    pub(super) about: About,
    /// What Kong says of it.
    pub(super) kong: Kong,
    /// Index of the file that `path` belongs to.
    pub(super) document: usize,
    /// Index of the file that `line` belongs to.
    pub(super) source: usize,
}

/// What an error is about; it decides its shape in Kong's error tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The value at the path.
    Value,
    /// Several fields of the record at the path (`@entity`).
    Record,
}

/// What Kong says of a problem, if not the same.
///
/// Kong judges in stages and tells of the first that fails: schemas; then references and keys;
/// then further unique fields. We tell everything at once, so an answer in Kong's shape is a
/// selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kong {
    /// A schema's error, at the path.
    Schema,
    /// A schema's error in another place or in other words.
    Instead(Path, String),
    /// A reference to nothing, told under the name of the entity; before that a schema may object.
    Reference { collection: &'static str, of: String, before: Option<(Path, String)> },
    /// A key or an id that is taken.
    Duplicate,
    /// A further field that is taken, told under the name of the entity.
    Unique { collection: &'static str, of: String },
    /// Kong has no such rule, or does not come so far.
    Own,
}

impl Problem {
    /// Where it is; without a line for what is wrong with all files together.
    pub fn place(&self) -> Place {
        let Self { file, line, column, .. } = self;
        Place { file: file.clone(), line: *line, column: *column, path: self.path.to_string() }
    }
}

impl fmt::Display for Problem {
    /// `file:line: path: message (hint)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}: ", self.file, self.line)?;
        }
        if !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// The way from the top of a file to a value: `services[0].plugins[1].config.auth`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(pub Vec<Step>);

impl Path {
    /// This path and one more field.
    pub(super) fn field(&self, name: &str) -> Self {
        self.join(&[Step::Field(name.to_owned())])
    }

    /// This path and one more position.
    pub(super) fn index(&self, index: usize) -> Self {
        self.join(&[Step::Index(index)])
    }

    /// This path and more steps.
    pub(super) fn join(&self, steps: &[Step]) -> Self {
        Self([self.0.as_slice(), steps].concat())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Field(name) | Step::Key(name) if name.contains(['.', '[']) => {
                    write!(f, "[{name:?}]")?;
                }
                Step::Field(name) if at == 0 => f.write_str(name)?,
                Step::Field(name) | Step::Key(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

/// How many items of a collection stand in earlier files: (file, collection) to their number.
pub(super) type Offsets = HashMap<(usize, String), usize>;

/// Sorts problems by position.
pub(super) fn sort(problems: &mut [Problem]) {
    problems.sort_by_key(|p| (p.source, p.line, p.column));
}

/// A path as if all files were one: arrays at the top are appended.
pub(super) fn merged(path: &Path, document: usize, offsets: &Offsets) -> Path {
    let mut path = path.clone();
    if let [Step::Field(collection), Step::Index(index), ..] = path.0.as_mut_slice() {
        *index += offsets.get(&(document, collection.clone())).copied().unwrap_or_default();
    }
    path
}

/// Collects problems while a configuration is read.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The names of the sources.
    pub(super) names: Vec<Arc<str>>,
    pub(super) errors: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
    /// What Kong would add to other errors although it is right: see [`Kong`].
    pub(super) beside: Vec<Problem>,
    pub(super) offsets: Offsets,
    /// How many items of a collection there are so far.
    pub(super) totals: HashMap<String, usize>,
}

/// Where a problem is: a path in a document, and a position that need not be in the same file.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) document: usize,
    pub(super) path: &'a Path,
    pub(super) pos: Pos,
}

impl Report {
    /// Adds an error about a value.
    pub(super) fn error(&mut self, at: At<'_>, message: impl Into<String>) -> &mut Problem {
        let problem = self.problem(at, message.into());
        self.errors.push(problem);
        let last = self.errors.len() - 1;
        &mut self.errors[last]
    }

    /// Adds a warning.
    pub(super) fn warn(&mut self, at: At<'_>, message: impl Into<String>) {
        let problem = self.problem(at, message.into());
        self.warnings.push(problem);
    }

    /// Adds what only Kong says, and only beside other errors.
    pub(super) fn beside(&mut self, at: At<'_>, message: &str) {
        let problem = self.problem(at, message.to_owned());
        self.beside.push(problem);
    }

    /// A place, for what is found out after loading.
    pub(super) fn place(&self, at: At<'_>) -> Place {
        self.problem(at, String::new()).place()
    }

    /// A hint at the known name that was probably meant.
    pub(super) fn suggest<'a>(
        &self,
        name: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> Option<String> {
        // After so many errors nobody needs hints, and each costs a look at all names.
        const MAX_SEARCHES: usize = 100;
        let meant = if self.errors.len() < MAX_SEARCHES { nearest(name, known) } else { None };
        meant.map(|meant| format!("did you mean '{meant}'?"))
    }

    /// Notes how many items a file has in a collection, so that later files count on from there.
    /// Files come in their order.
    pub(super) fn count(&mut self, document: usize, collection: &str, items: usize) {
        let total = self.totals.entry(collection.to_owned()).or_default();
        self.offsets.insert((document, collection.to_owned()), *total);
        *total += items;
    }

    fn problem(&self, at: At<'_>, message: String) -> Problem {
        Problem {
            file: self.names.get(at.pos.file).cloned().unwrap_or_else(|| "".into()),
            line: at.pos.line,
            column: at.pos.column,
            path: at.path.clone(),
            message,
            hint: None,
            about: About::Value,
            kong: Kong::Schema,
            document: at.document,
            source: at.pos.file,
        }
    }
}

/// The known name that was probably meant, for a hint.
///
/// One name is meant by another if it is close to it, or if one begins with the other (`conf`).
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bound = (name.chars().count() / 3).clamp(1, 3);
    known
        .filter(|candidate| *candidate != name)
        .filter_map(|candidate| {
            let distance = distance(name, candidate);
            let prefix = name.len() >= 3
                && candidate.len() >= 3
                && (candidate.starts_with(name) || name.starts_with(candidate));
            (distance <= bound || prefix).then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(path: &[Step], about: About, message: &str) -> Problem {
        let path = Path(path.to_vec());
        let at = At { document: 0, path: &path, pos: Pos { file: 0, line: 3, column: 1 } };
        let mut report = Report { names: vec!["kong.yaml".into()], ..Report::default() };
        report.error(at, message).about = about;
        report.errors.remove(0)
    }

    fn field(name: &str) -> Step {
        Step::Field(name.to_owned())
    }

    #[test]
    fn a_problem_prints_file_line_path_and_hint() {
        let path = [field("services"), Step::Index(0), field("conf")];
        let mut problem = problem(&path, About::Value, "unknown field");
        problem.hint = Some("did you mean 'config'?".to_owned());
        let text = "kong.yaml:3: services[0].conf: unknown field (did you mean 'config'?)";
        assert_eq!(problem.to_string(), text);
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        let known = ["paths", "config", "hosts", "strip_path"];
        let cases = [
            ("path", Some("paths")),
            ("conf", Some("config")),
            ("stripe_path", Some("strip_path")),
            ("frobnicate", None),
        ];
        for (name, meant) in cases {
            assert_eq!(nearest(name, known.into_iter()), meant, "{name}");
        }
    }
}
