//! What Kong's Admin API answers to a wrong configuration.
//!
//! Kong tells of the first stage that fails ([`Kong`]), as a tree in the shape of the configuration
//! and, when asked, as a list of the entities that have errors.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::errors::{Errors, Subject};
use super::links::NULL;
use super::problem::{About, Kong, Path, Problem, merged};
use crate::schema::Step;

/// Kong's stages: schemas, references and keys, further unique fields. What comes behind is ours.
const STAGES: usize = 4;

/// One error as Kong tells it.
struct Leaf<'a> {
    path: Vec<Step>,
    message: &'a str,
    shape: Shape,
    /// The entity that it is in, as a position among the subjects.
    subject: Option<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// The text stands at the path.
    Text,
    /// In a list under `@entity`.
    Record,
    /// In a list at the path, which holds the name of an entity and not its position.
    Named,
}

impl Errors {
    /// The error tree of Kong's `POST /config` answer (`fields`).
    ///
    /// Arrays have a null for every item without errors; errors about a record as a whole are
    /// under `@entity`. With several files the positions are those in the merged arrays, as Kong
    /// would see what decK merged.
    pub fn fields(&self) -> Value {
        self.leaves().iter().fold(Value::Null, |tree, leaf| graft(tree, &leaf.path, leaf))
    }

    /// The `message` of Kong's `POST /config` answer.
    pub fn message(&self) -> String {
        let mut text = "declarative config is invalid: ".to_owned();
        print_lua(&self.fields(), &mut text);
        text
    }

    /// The errors by entity, as `flattened_errors` of Kong's `POST /config?flatten_errors=1`.
    ///
    /// Kong's member `entity` is left out: the entity may hold secrets. In the order of the files.
    pub fn flattened(&self) -> Value {
        let mut order = Vec::new();
        let mut entities: HashMap<(usize, Option<&str>), Value> = HashMap::new();
        for leaf in self.leaves().iter().filter(|leaf| leaf.shape != Shape::Named) {
            let Some(at) = leaf.subject else { continue };
            let subject = &self.subjects[at];
            // A key that is taken deep inside is told by a path that leads to no entity.
            let Some(mut within) = leaf.path.get(subject.depth..) else { continue };
            let first = within.first().and_then(Step::name);
            let inline = subject.inline.iter().find(|(field, _)| first == Some(field));
            if inline.is_some() {
                within = &within[1..];
            }
            let (field, about) = inline.map_or((None, subject), |(f, s)| (Some(*f), s));
            let entity = entities.entry((at, field)).or_insert_with(|| {
                order.push((at, field));
                described(about)
            });
            if let Value::Array(errors) = &mut entity["errors"] {
                errors.push(flat(within, leaf));
            }
        }
        order.iter().filter_map(|key| entities.remove(key)).collect()
    }

    /// What Kong tells: the errors of the first stage that has any.
    fn leaves(&self) -> Vec<Leaf<'_>> {
        let all = || self.problems().iter().chain(&self.beside).zip(&self.about);
        let stage = self.problems().iter().map(stage).min().unwrap_or(STAGES);
        let mut leaves: Vec<Leaf<'_>> = Vec::new();
        let mut maps = HashMap::new();
        for (problem, subject) in all() {
            let Some(mut leaf) = self.leaf(problem, stage) else { continue };
            let is_keyed = matches!(problem.kong, Kong::Unique { .. });
            leaf.subject = subject.filter(|_| !is_keyed);
            if !told_of_map(&mut leaf, &mut maps) {
                continue;
            }
            // Kong's list of unique fields keeps one error of a collection.
            if matches!(problem.kong, Kong::Unique { .. }) {
                leaves.retain(|other| other.path.first() != leaf.path.first());
            }
            leaves.push(leaf);
        }
        without_more_about_nulls(leaves)
    }

    fn leaf<'a>(&self, problem: &'a Problem, told: usize) -> Option<Leaf<'a>> {
        let at = |path: &Path| merged(path, problem.document, &self.offsets).0;
        let named = |collection: &str, of: &str| {
            vec![Step::Field(collection.to_owned()), Step::Field(of.to_owned())]
        };
        let message = problem.message.as_str();
        let shape = match problem.about {
            About::Value => Shape::Text,
            About::Record => Shape::Record,
        };
        let (path, message, shape) = match &problem.kong {
            Kong::Reference { before: Some((path, message)), .. } if told == 0 => {
                (at(path), message.as_str(), Shape::Text)
            }
            _ if stage(problem) != told => return None,
            Kong::Instead(path, message) => (at(path), message.as_str(), Shape::Text),
            Kong::Reference { collection, of, .. } => {
                (named(collection, of), message, Shape::Named)
            }
            Kong::Unique { collection, of } => (named(collection, of), message, Shape::Text),
            Kong::Duplicate => {
                // Kong names the entity around it, but not what is around that one.
                let mut path = at(&problem.path);
                path.drain(..path.len().saturating_sub(4));
                (path, message, Shape::Text)
            }
            Kong::Schema | Kong::Own => (at(&problem.path), message, shape),
        };
        let path = if path.is_empty() { vec![Step::Field("error".to_owned())] } else { path };
        Some(Leaf { path, message, shape, subject: None })
    }
}

/// Kong: that a value must be null takes the place of all else about it.
fn without_more_about_nulls(mut leaves: Vec<Leaf<'_>>) -> Vec<Leaf<'_>> {
    let is_null = |leaf: &Leaf<'_>| leaf.message == NULL && leaf.shape == Shape::Text;
    let text = |path: &[Step]| Path(path.to_vec()).to_string();
    let nulls: HashSet<String> =
        leaves.iter().filter(|leaf| is_null(leaf)).map(|leaf| text(&leaf.path)).collect();
    let mut told = HashSet::new();
    leaves.retain(|leaf| {
        let mut beginnings = (1..=leaf.path.len()).map(|end| text(&leaf.path[..end]));
        match beginnings.find(|path| nulls.contains(path)) {
            None => true,
            Some(null) => is_null(leaf) && told.insert(null),
        }
    });
    leaves
}

fn stage(problem: &Problem) -> usize {
    match problem.kong {
        Kong::Schema | Kong::Instead(..) => 0,
        Kong::Reference { .. } | Kong::Duplicate => 1,
        Kong::Unique { .. } => 2,
        Kong::Own => 3,
    }
}

/// Whether Kong would tell: a value has one error, and a map that of its first wrong entry, which
/// Kong does not name.
fn told_of_map(leaf: &mut Leaf<'_>, maps: &mut HashMap<String, Option<String>>) -> bool {
    let text = |path: &[Step]| Path(path.to_vec()).to_string();
    let key = leaf.path.iter().position(|step| matches!(step, Step::Key(_)));
    let (map, key) = match key {
        Some(at) => (text(&leaf.path[..at]), leaf.path[at].name().map(str::to_owned)),
        None => (text(&leaf.path), None),
    };
    leaf.path.retain(|step| !matches!(step, Step::Key(_)));
    if key.is_none() && leaf.shape != Shape::Text {
        return true;
    }
    match maps.entry(map) {
        Entry::Vacant(entry) => {
            entry.insert(key);
            true
        }
        Entry::Occupied(entry) => key.is_some() && *entry.get() == key,
    }
}

/// Kong's description of an entity with errors, without errors yet.
fn described(subject: &Subject) -> Value {
    let mut described = json!({"entity_type": subject.kind});
    if let Some(name) = subject.name.as_ref().filter(|name| !name.is_empty()) {
        described["entity_name"] = json!(name);
    }
    if !subject.id.is_nil() {
        described["entity_id"] = json!(subject.id);
    }
    if let Some(tags) = &subject.tags {
        described["entity_tags"] = json!(tags);
    }
    described["errors"] = json!([]);
    described
}

/// One error of an entity, by its path within it.
fn flat(within: &[Step], leaf: &Leaf<'_>) -> Value {
    let mut field = String::new();
    for step in within {
        let _ = match step {
            Step::Field(name) | Step::Key(name) => write!(field, ".{name}"),
            Step::Index(index) => write!(field, ".{}", index + 1),
        };
    }
    match (field.strip_prefix('.'), leaf.shape) {
        (Some(field), Shape::Text) => {
            json!({"type": "field", "field": field, "message": leaf.message})
        }
        _ => json!({"type": "entity", "message": leaf.message}),
    }
}

/// Puts an error into Kong's tree.
fn graft(tree: Value, path: &[Step], leaf: &Leaf<'_>) -> Value {
    match path.split_first() {
        Some((Step::Field(name) | Step::Key(name), rest)) => {
            let mut map = to_map(tree);
            let inner = map.remove(name).unwrap_or_default();
            map.insert(name.clone(), graft(inner, rest, leaf));
            Value::Object(map)
        }
        Some((Step::Index(index), rest)) => {
            let mut list = match tree {
                Value::Array(list) => list,
                Value::Object(mut map) => {
                    let key = (index + 1).to_string();
                    let inner = map.remove(&key).unwrap_or_default();
                    map.insert(key, graft(inner, rest, leaf));
                    return Value::Object(map);
                }
                _ => Vec::new(),
            };
            if list.len() <= *index {
                list.resize(index + 1, Value::Null);
            }
            list[*index] = graft(list[*index].take(), rest, leaf);
            Value::Array(list)
        }
        None => match (leaf.shape, tree) {
            (Shape::Text, Value::Null) => json!(leaf.message),
            (Shape::Named, Value::Array(mut list)) => {
                list.push(json!(leaf.message));
                Value::Array(list)
            }
            (Shape::Named, _) => json!([leaf.message]),
            (_, tree) => {
                let mut map = to_map(tree);
                let list = map.entry("@entity").or_insert_with(|| json!([]));
                if let Value::Array(list) = list {
                    list.push(json!(leaf.message));
                }
                Value::Object(map)
            }
        },
    }
}

/// A tree to add fields to; a text that stands there moves under `@entity`, and what has a position
/// gets a key, as in JSON that is made of a Lua table with both.
fn to_map(tree: Value) -> Map<String, Value> {
    match tree {
        Value::Object(map) => map,
        Value::String(text) => Map::from_iter([("@entity".to_owned(), json!([text]))]),
        Value::Array(list) => {
            let items = list.into_iter().enumerate().filter(|(_, item)| !item.is_null());
            items.map(|(at, item)| ((at + 1).to_string(), item)).collect()
        }
        _ => Map::new(),
    }
}

/// Words that Lua does not take for a name.
const RESERVED: [&str; 21] = [
    "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local",
    "nil", "not", "or", "repeat", "return", "then", "true", "until", "while",
];

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
                    && !key.starts_with(|c: char| c.is_ascii_digit())
                    && !RESERVED.contains(&key.as_str());
                if is_name {
                    out.push_str(key);
                } else {
                    out.push('[');
                    quote_lua(key, out);
                    out.push(']');
                }
                out.push('=');
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
                    let _ = write!(out, "[{}]=", at + 1);
                }
                print_lua(item, out);
                first = false;
            }
            out.push('}');
        }
        Value::String(text) => quote_lua(text, out),
        other => out.push_str(&other.to_string()),
    }
}

/// A text as LuaJIT's `%q` writes it, on one line.
fn quote_lua(text: &str, out: &mut String) {
    out.push('"');
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_ascii_control() => {
                let is_followed = chars.peek().is_some_and(char::is_ascii_digit);
                let _ = match is_followed {
                    true => write!(out, "\\{:03}", u32::from(c)),
                    false => write!(out, "\\{}", u32::from(c)),
                };
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::node::Pos;
    use crate::config::problem::{At, Report};

    fn errors(problems: &[(&[Step], About, Kong, &str)]) -> Errors {
        let mut report = Report { names: vec!["kong.yaml".into()], ..Report::default() };
        for (path, about, kong, message) in problems {
            let path = Path(path.to_vec());
            let at = At { document: 0, path: &path, pos: Pos { file: 0, line: 3, column: 1 } };
            let problem = report.error(at, *message);
            (problem.about, problem.kong) = (*about, kong.clone());
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
            (&consumer, About::Value, Kong::Schema, "twice"),
            (&host, About::Value, Kong::Schema, "required field missing"),
            (&service, About::Record, Kong::Schema, "at least one"),
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
        let errors = errors(&[(&[], About::Value, Kong::Schema, "bad")]);
        assert_eq!(errors.fields(), json!({"error": "bad"}));
    }

    #[test]
    fn a_later_stage_is_told_only_when_the_earlier_ones_are_silent() {
        let route = [field("routes"), Step::Index(1)];
        let before = (Path([&route[..], &[field("service")]].concat()), "missing".to_owned());
        let reference =
            Kong::Reference { collection: "routes", of: "r".to_owned(), before: Some(before) };
        let deep = [
            field("services"),
            Step::Index(3),
            field("routes"),
            Step::Index(0),
            field("plugins"),
            Step::Index(1),
        ];
        let late: [(&[Step], _, _, _); 2] = [
            (&route, About::Value, reference, "invalid reference"),
            (&deep, About::Value, Kong::Duplicate, "taken"),
        ];
        let tree = json!({
            "routes": {"1": {"plugins": [null, "taken"]}, "r": ["invalid reference"]},
        });
        assert_eq!(errors(&late).fields(), tree);
        let paths = [field("routes"), Step::Index(0), field("paths")];
        let mut all = late.to_vec();
        all.push((&paths, About::Value, Kong::Schema, "bad"));
        let tree = json!({"routes": [{"paths": "bad"}, {"service": "missing"}]});
        assert_eq!(errors(&all).fields(), tree);
    }

    #[test]
    fn one_error_of_a_map_is_told_without_its_key() {
        let headers = [field("routes"), Step::Index(0), field("headers")];
        let value = |key: &str| [&headers[..], &[Step::Key(key.to_owned())]].concat();
        let (a, b) = (value("a"), value("b"));
        let errors = errors(&[
            (&a, About::Value, Kong::Schema, "expected an array"),
            (&b, About::Value, Kong::Schema, "required field missing"),
        ]);
        assert_eq!(errors.fields(), json!({"routes": [{"headers": "expected an array"}]}));
        let wrong_keys = super::tests::errors(&[
            (&headers, About::Value, Kong::Schema, "bad name"),
            (&headers, About::Value, Kong::Schema, "another"),
        ]);
        assert_eq!(wrong_keys.fields(), json!({"routes": [{"headers": "bad name"}]}));
        let lines = errors.to_string();
        assert!(lines.contains("routes[0].headers.b: required field missing"), "{lines}");
    }

    #[test]
    fn texts_are_quoted_as_lua_quotes_them() {
        let mut quoted = String::new();
        quote_lua("a\t\"b\\\u{7f}1\n", &mut quoted);
        assert_eq!(quoted, r#""a\9\"b\\\1271\n""#);
    }
}
