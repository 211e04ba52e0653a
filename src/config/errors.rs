//! Everything that is wrong with a configuration, also in the shapes of Kong's Admin API.

use std::collections::HashMap;
use std::fmt::{self, Write as _};

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::draft::Draft;
use super::node::{Data, Node};
use super::problem::{About, Offsets, Path, Problem, Report, merged, sort};
use crate::schema::Step;

/// Everything that is wrong with a configuration, in the order of the files; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    problems: Vec<Problem>,
    offsets: Offsets,
    /// The entities that problems are in, each once.
    subjects: Vec<Subject>,
    /// For each problem the position of its entity.
    about: Vec<Option<usize>>,
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
    depth: usize,
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
        for problem in &problems {
            let draft = around(problem);
            about.push(draft.map(|at| {
                *known.entry(at).or_insert_with(|| {
                    subjects.push(Subject::new(&drafts[at]));
                    subjects.len() - 1
                })
            }));
        }
        Self { problems, offsets: report.offsets, subjects, about }
    }

    /// Changes every text that may quote a value.
    pub(super) fn each_text(&mut self, mut change: impl FnMut(&mut String)) {
        self.problems.iter_mut().for_each(|problem| change(&mut problem.message));
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

    /// The errors by entity, as `flattened_errors` of Kong's `POST /config?flatten_errors=1`.
    ///
    /// Kong's member `entity` is left out: the entity may hold secrets. In the order of the files.
    pub fn flattened(&self) -> Value {
        let mut entities: Vec<Value> = self.subjects.iter().map(Subject::described).collect();
        for (problem, at) in self.problems.iter().zip(&self.about) {
            let Some(at) = at else { continue };
            let mut field = String::new();
            for step in problem.path.0.iter().skip(self.subjects[*at].depth) {
                let _ = match step {
                    Step::Field(name) => write!(field, ".{name}"),
                    Step::Index(index) => write!(field, ".{}", index + 1),
                };
            }
            let error = match (field.strip_prefix('.'), problem.about) {
                (Some(field), About::Value) => {
                    json!({"type": "field", "field": field, "message": problem.message})
                }
                _ => json!({"type": "entity", "message": problem.message}),
            };
            if let Value::Array(errors) = &mut entities[*at]["errors"] {
                errors.push(error);
            }
        }
        Value::Array(entities)
    }

    /// The error tree of Kong's `POST /config` answer (`fields`).
    ///
    /// Arrays have a null for every item without errors; errors about a record as a whole are
    /// under `@entity`. With several files the positions are those in the merged arrays, as Kong
    /// would see what decK merged.
    pub fn fields(&self) -> Value {
        let mut tree = Value::Null;
        for problem in &self.problems {
            if problem.path.0.is_empty() {
                tree = graft(tree, &[Step::Field("error".to_owned())], problem);
            } else {
                let path = merged(&problem.path, problem.document, &self.offsets);
                tree = graft(tree, &path.0, problem);
            }
        }
        tree
    }

    /// The `message` of Kong's `POST /config` answer.
    pub fn message(&self) -> String {
        let mut text = "declarative config is invalid: ".to_owned();
        print_lua(&self.fields(), &mut text);
        text
    }
}

impl Subject {
    fn new(draft: &Draft) -> Self {
        let text = |node: &Node| node.as_str().map(str::to_owned);
        let tags = draft.node.field("tags").filter(|tags| matches!(tags.data, Data::List(_)));
        Self {
            kind: draft.kind.name.strip_suffix('s').unwrap_or(draft.kind.name).to_owned(),
            id: draft.id,
            name: draft.node.field("name").and_then(text),
            tags: tags.and_then(|tags| tags.items().iter().map(text).collect()),
            depth: draft.path.0.len(),
        }
    }

    /// Kong's description of an entity with errors, without errors yet.
    fn described(&self) -> Value {
        let mut described = json!({"entity_type": self.kind});
        if let Some(name) = &self.name {
            described["entity_name"] = json!(name);
        }
        if !self.id.is_nil() {
            described["entity_id"] = json!(self.id);
        }
        if let Some(tags) = &self.tags {
            described["entity_tags"] = json!(tags);
        }
        described["errors"] = json!([]);
        described
    }
}

/// Puts a problem into Kong's tree of errors.
fn graft(tree: Value, path: &[Step], problem: &Problem) -> Value {
    match path.split_first() {
        Some((Step::Field(name), rest)) => {
            let mut map = to_map(tree);
            let inner = map.remove(name).unwrap_or_default();
            map.insert(name.clone(), graft(inner, rest, problem));
            Value::Object(map)
        }
        Some((Step::Index(index), rest)) => {
            let mut list = match tree {
                Value::Array(list) => list,
                _ => Vec::new(),
            };
            if list.len() <= *index {
                list.resize(index + 1, Value::Null);
            }
            list[*index] = graft(list[*index].take(), rest, problem);
            Value::Array(list)
        }
        None if problem.about == About::Value && tree.is_null() => json!(problem.message),
        None => {
            let mut map = to_map(tree);
            let list = map.entry("@entity").or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.push(json!(problem.message));
            }
            Value::Object(map)
        }
    }
}

/// A tree to add fields to; a text that stands there moves under `@entity`.
fn to_map(tree: Value) -> Map<String, Value> {
    match tree {
        Value::Object(map) => map,
        Value::String(text) => Map::from_iter([("@entity".to_owned(), json!([text]))]),
        _ => Map::new(),
    }
}

/// Prints a tree as Kong does in messages: `{services={[2]="..."}}`, keys in order.
fn print_lua(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                out.push_str(if at == 0 { "" } else { "," });
                let is_name = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && !key.starts_with(|c: char| c.is_ascii_digit());
                out.push_str(&if is_name { format!("{key}=") } else { format!("[{key:?}]=") });
                print_lua(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(list) => {
            out.push('{');
            let (mut first, mut gap) = (true, false);
            for (at, item) in list.iter().enumerate() {
                if item.is_null() {
                    gap = true;
                    continue;
                }
                out.push_str(if first { "" } else { "," });
                if gap {
                    out.push_str(&format!("[{}]=", at + 1));
                }
                print_lua(item, out);
                first = false;
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::node::Pos;
    use crate::config::problem::At;

    fn errors(problems: &[(&[Step], About, &str)]) -> Errors {
        let mut report = Report { names: vec!["kong.yaml".into()], ..Report::default() };
        for (path, about, message) in problems {
            let path = Path(path.to_vec());
            let at = At { document: 0, path: &path, pos: Pos { file: 0, line: 3, column: 1 } };
            report.error(at, *message).about = *about;
        }
        Errors::new(report, &[])
    }

    fn field(name: &str) -> Step {
        Step::Field(name.to_owned())
    }

    #[test]
    fn the_tree_and_the_message_are_kongs() {
        let consumer = [field("consumers"), Step::Index(1)];
        let service = [field("services"), Step::Index(0)];
        let host = [&service[..], &[field("host")]].concat();
        let errors = errors(&[
            (&consumer, About::Value, "twice"),
            (&host, About::Value, "required field missing"),
            (&service, About::Record, "at least one"),
        ]);
        let tree = json!({
            "consumers": [null, "twice"],
            "services": [{"host": "required field missing", "@entity": ["at least one"]}],
        });
        assert_eq!(errors.fields(), tree);
        let message = concat!(
            "declarative config is invalid: {consumers={[2]=\"twice\"},",
            "services={{[\"@entity\"]={\"at least one\"},host=\"required field missing\"}}}"
        );
        assert_eq!(errors.message(), message);
    }

    #[test]
    fn a_text_that_cannot_be_read_is_kongs_error_field() {
        let errors = errors(&[(&[], About::Value, "bad")]);
        assert_eq!(errors.fields(), json!({"error": "bad"}));
    }
}
