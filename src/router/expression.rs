//! Expressions of Routes (`router_flavor = expressions`), read and run by Kong's own crate.
//!
//! The crate tries one expression after the other. Here each is an entry among the others, found
//! through the index, so only its parser and its interpreter are used.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::LazyLock;

use atc_router::ast::{BinaryOperator, LogicalExpression, Predicate, Type, Value};
use atc_router::ast::{Expression as Tree, Lhs};
use atc_router::context::{Context, Match};
use atc_router::interpreter::Execute;
use atc_router::parser::parse;
use atc_router::schema::Schema;
use atc_router::semantics::{FieldCounter, Validate};
use regex::Regex;

use super::Query;
use super::index::{HostKey, Keys, literal};
use super::matcher::Matched;

const HEADERS: &str = "http.headers.";
const QUERIES: &str = "http.queries.";
const SEGMENTS: &str = "http.path.segments.";

/// Deeper or longer ones would exhaust the stack of whoever walks the tree.
const TERMS_MAX: usize = 1000;
const DEPTH_MAX: usize = 100;

/// The fields of Kong's HTTP routes and their types.
static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let mut schema = Schema::default();
    for field in ["net.protocol", "tls.sni", "http.method", "http.host", "http.path"] {
        schema.add_field(field, Type::String);
    }
    for field in ["http.path.segments.*", "http.headers.*", "http.queries.*"] {
        schema.add_field(field, Type::String);
    }
    for field in ["net.src.port", "net.dst.port", "http.path.segments.len"] {
        schema.add_field(field, Type::Int);
    }
    for field in ["net.src.ip", "net.dst.ip"] {
        schema.add_field(field, Type::IpAddr);
    }
    schema
});

/// A compiled expression.
pub(super) struct Expression {
    tree: Tree,
    fields: Vec<String>,
}

/// What is wrong with an expression, in Kong's words; `None` if it can be used.
pub fn error(text: &str) -> Option<String> {
    Expression::new(text).err()
}

impl Expression {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        check_size(text)?;
        let tree = parse(&with_new_names(text)).map_err(|error| error.to_string())?;
        tree.validate(&SCHEMA)?;
        let mut counted = std::collections::HashMap::new();
        tree.add_to_counter(&mut counted);
        let mut fields: Vec<String> = counted.into_keys().collect();
        fields.sort_unstable();
        for range in fields.iter().filter_map(|field| field.strip_prefix(SEGMENTS)) {
            if range != "len" && segment_range(range).is_none() {
                return Err("illformed http.path.segments.* field".to_owned());
            }
        }
        Ok(Self { tree, fields })
    }

    pub(super) fn agrees(&self, query: &Query<'_>) -> bool {
        self.tree.execute(&mut self.context(query), &mut Match::new())
    }

    pub(super) fn matched(&self, query: &Query<'_>) -> Matched {
        let mut found = Match::new();
        if !self.tree.execute(&mut self.context(query), &mut found) {
            return Matched::default();
        }
        let text = found.matches.get("http.path").and_then(string);
        found.captures.remove("0");
        let mut captures: Vec<_> = found.captures.into_iter().collect();
        captures.sort_unstable();
        Matched { text, captures }
    }

    /// The values of the fields that the expression asks for.
    fn context(&self, query: &Query<'_>) -> Context<'static> {
        let mut context = Context::new(&SCHEMA);
        for field in &self.fields {
            let int = |number: i64| vec![Value::Int(number)];
            let values = match field.as_str() {
                "net.protocol" => text([if query.tls { "https" } else { "http" }]),
                "tls.sni" => text(query.sni),
                "http.method" => text([query.method]),
                "http.host" => text([query.host]),
                "http.path" => text([query.path]),
                "net.src.ip" => vec![Value::IpAddr(query.source.ip())],
                "net.src.port" => int(query.source.port().into()),
                "net.dst.ip" => vec![Value::IpAddr(query.address)],
                "net.dst.port" => int(query.port.into()),
                "http.path.segments.len" => {
                    int(i64::try_from(segments(query.path).len()).unwrap_or(i64::MAX))
                }
                field => by_name(field, query),
            };
            values.into_iter().for_each(|value| context.add_value(field, value));
        }
        context
    }

    pub(super) fn keys(&self) -> Keys {
        Keys { hosts: host_keys(&self.tree), paths: path_keys(&self.tree) }
    }
}

/// Kong 3 still takes `net.port` for `net.dst.port`.
fn with_new_names(text: &str) -> Cow<'_, str> {
    let old = text.contains("net.port").then(|| Regex::new(r"net\.port(\s*[=><!])"));
    match old {
        Some(Ok(old)) => old.replace_all(text, "net.dst.port$1"),
        _ => Cow::Borrowed(text),
    }
}

fn check_size(text: &str) -> Result<(), String> {
    let terms = text.matches("&&").count() + text.matches("||").count();
    let depth = text.bytes().fold((0usize, 0usize), |(now, most), byte| match byte {
        b'(' => (now + 1, most.max(now + 1)),
        b')' => (now.saturating_sub(1), most),
        _ => (now, most),
    });
    if terms > TERMS_MAX || depth.1 > DEPTH_MAX {
        return Err(format!(
            "more than {TERMS_MAX} operators or {DEPTH_MAX} nested parentheses; \
             make several routes of it"
        ));
    }
    Ok(())
}

fn text<'a>(values: impl IntoIterator<Item = &'a str>) -> Vec<Value> {
    values.into_iter().map(|value| Value::String(value.to_owned())).collect()
}

fn by_name(field: &str, query: &Query<'_>) -> Vec<Value> {
    if let Some(name) = field.strip_prefix(HEADERS) {
        let names = super::header_names(name);
        let name = names.iter().find(|name| query.headers.contains_key(name.as_str()));
        let values = name.into_iter().flat_map(|name| query.headers.get_all(name.as_str()));
        let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        return values.map(Value::String).collect();
    }
    if let Some(name) = field.strip_prefix(QUERIES) {
        let pairs = url::form_urlencoded::parse(query.query.unwrap_or_default().as_bytes());
        let values = pairs.filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        return values.map(Value::String).collect();
    }
    let range = field.strip_prefix(SEGMENTS).and_then(segment_range);
    let found = range.and_then(|(from, to)| segments(query.path).get(from..=to)?.join("/").into());
    found.into_iter().map(Value::String).collect()
}

/// The segments of a path; a slash at its end opens none.
fn segments(path: &str) -> Vec<&str> {
    let mut segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    while segments.last().is_some_and(|last| last.is_empty()) {
        segments.pop();
    }
    segments
}

/// `N` or `N_M`, from 0, without leading zeros, and N less than M.
fn segment_range(range: &str) -> Option<(usize, usize)> {
    let number = |text: &str| {
        let plain = text == "0" || !text.starts_with('0');
        text.parse().ok().filter(|_| plain && text.bytes().all(|b| b.is_ascii_digit()))
    };
    match range.split_once('_') {
        None => number(range).map(|n| (n, n)),
        Some((from, to)) => Some((number(from)?, number(to)?)).filter(|(from, to)| from < to),
    }
}

/// The hosts of which a request must have one.
fn host_keys(tree: &Tree) -> Option<Vec<HostKey>> {
    keys(tree, "http.host", &|predicate| {
        let name = string(&predicate.rhs)?;
        match predicate.op {
            BinaryOperator::Equals => Some(HostKey::Exact(name)),
            BinaryOperator::Postfix if name.starts_with('.') => Some(HostKey::Suffix(name)),
            BinaryOperator::Prefix if name.ends_with('.') => Some(HostKey::Prefix(name)),
            _ => None,
        }
    })
}

/// The beginnings of which a path must have one.
fn path_keys(tree: &Tree) -> Option<Vec<Rc<str>>> {
    keys(tree, "http.path", &|predicate| match predicate.op {
        BinaryOperator::Equals | BinaryOperator::Prefix => string(&predicate.rhs).map(Rc::from),
        BinaryOperator::Regex => match &predicate.rhs {
            Value::Regex(regex) => Some(literal(regex.as_str()).into()),
            _ => None,
        },
        _ => None,
    })
}

fn string(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// What a tree demands of a field that has exactly one value; `None` is nothing that helps.
fn keys<K>(tree: &Tree, field: &str, key: &impl Fn(&Predicate) -> Option<K>) -> Option<Vec<K>> {
    match tree {
        Tree::Predicate(predicate) => {
            let Lhs { var_name, transformations } = &predicate.lhs;
            let plain = var_name == field && transformations.is_empty();
            plain.then(|| key(predicate))?.map(|key| vec![key])
        }
        Tree::Logical(logical) => match logical.as_ref() {
            LogicalExpression::And(a, b) => keys(a, field, key).or_else(|| keys(b, field, key)),
            LogicalExpression::Or(a, b) => {
                let mut both = keys(a, field, key)?;
                both.extend(keys(b, field, key)?);
                Some(both)
            }
            LogicalExpression::Not(_) => None,
        },
    }
}
