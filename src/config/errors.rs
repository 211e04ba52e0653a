//! Everything that is wrong with a configuration, and the entities it is in.

use std::collections::HashMap;
use std::fmt;

use uuid::Uuid;

use super::draft::Draft;
use super::node::{Data, Node};
use super::problem::{Kong, Offsets, Path, Problem, Report, sort};
use crate::schema::Step;

/// Everything that is wrong with a configuration, in the order of the files; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    problems: Vec<Problem>,
    /// See [`Report::beside`].
    pub(super) beside: Vec<Problem>,
    pub(super) offsets: Box<Offsets>,
    /// The entities that problems are in, each once.
    pub(super) subjects: Vec<Subject>,
    /// For each problem the position of its entity; those of `beside` follow.
    pub(super) about: Vec<Option<usize>>,
}

/// An entity that has errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Kong's name of one: `service`.
    pub kind: String,
    /// Its id, given or generated; nil if it got none.
    pub id: Uuid,
    /// Its `name`, if that is a text.
    pub name: Option<String>,
    /// Its tags, if they are texts.
    pub tags: Option<Vec<String>>,
    /// Steps of the path to it.
    pub(super) depth: usize,
    /// Other entities that are written in place of a reference, by the field. Kong takes errors
    /// in them for theirs.
    pub(super) inline: Vec<(&'static str, Self)>,
}

impl std::error::Error for Errors {}

impl fmt::Display for Errors {
    /// One line for each problem.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl Errors {
    /// The errors of a report, sorted by position, and the entities that they are in.
    pub(super) fn new(report: Report, drafts: &[Draft]) -> Self {
        let mut problems = report.errors;
        sort(&mut problems);
        let key = |document: usize, path: &[Step]| (document, Path(path.to_vec()).to_string());
        let places = drafts.iter().enumerate();
        let places: HashMap<_, _> =
            places.map(|(at, draft)| (key(draft.document, &draft.path.0), at)).collect();
        let around = |problem: &Problem| {
            let path = &problem.path.0;
            let beginnings = (0..=path.len()).rev().map(|end| &path[..end]);
            beginnings.filter_map(|path| places.get(&key(problem.document, path))).next().copied()
        };
        let mut subjects = Vec::new();
        let mut known = HashMap::new();
        let mut about = Vec::with_capacity(problems.len());
        for problem in problems.iter().chain(&report.beside) {
            let draft = around(problem);
            about.push(draft.map(|at| {
                *known.entry(at).or_insert_with(|| {
                    subjects.push(Subject::new(&drafts[at]));
                    subjects.len() - 1
                })
            }));
        }
        Self { problems, beside: report.beside, offsets: Box::new(report.offsets), subjects, about }
    }

    /// Changes every text that may quote a value.
    pub(super) fn each_text(&mut self, mut change: impl FnMut(&mut String)) {
        for problem in self.problems.iter_mut().chain(&mut self.beside) {
            change(&mut problem.message);
            if let Kong::Instead(_, text) | Kong::Reference { before: Some((_, text)), .. } =
                &mut problem.kong
            {
                change(text);
            }
        }
        self.subjects.iter_mut().filter_map(|s| s.name.as_mut()).for_each(change);
    }

    /// The problems, in the order of the files.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The problems, each with the entity that it is in.
    pub fn with_subjects(&self) -> impl Iterator<Item = (&Problem, Option<&Subject>)> {
        let subject = |at: &Option<usize>| at.and_then(|at| self.subjects.get(at));
        self.problems.iter().zip(self.about.iter().map(subject))
    }
}

impl Subject {
    fn new(draft: &Draft) -> Self {
        let inline = draft.kind.foreign.iter().filter_map(|(field, target)| {
            let node = draft.node.field(field).filter(|node| node.as_str().is_none())?;
            matches!(node.data, Data::Map(_) | Data::List(_))
                .then(|| (*field, Self::read(target, node, Uuid::nil(), 0)))
        });
        let depth = draft.path.0.len();
        let inline = inline.collect();
        Self { inline, ..Self::read(draft.kind.name, &draft.node, draft.id, depth) }
    }

    fn read(collection: &str, node: &Node, id: Uuid, depth: usize) -> Self {
        let text = |node: &Node| node.as_str().map(str::to_owned);
        let given = node.field("id").and_then(Node::as_str).and_then(|id| id.parse().ok());
        let tags = node.field("tags").filter(|tags| matches!(tags.data, Data::List(_)));
        Self {
            kind: collection.strip_suffix('s').unwrap_or(collection).to_owned(),
            id: if id.is_nil() { given.unwrap_or_default() } else { id },
            name: node.field("name").and_then(text),
            tags: tags.and_then(|tags| tags.items().iter().map(text).collect()),
            depth,
            inline: Vec::new(),
        }
    }
}
