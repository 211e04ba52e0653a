//! Drafts against their schemas: what is right gets its defaults, what is wrong its place.
//!
//! A schema knows only the value it checks. Here its errors get the path and the line in the
//! file, and an unknown field the name that was probably meant.

use std::collections::HashSet;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::collections::Support;
use super::draft::{Draft, unknown_field};
use super::edition;
use super::node::{Data, Node};
use super::problem::{About, At, Kong, Problem, Report};
use crate::entity::Referenced;
use crate::schema::{Check, Error, Schemas, Step};

/// An entity with every declared field, and the schemas that said so.
pub(super) struct Judged {
    pub(super) entity: Value,
    /// A plugin's `config`; null for all others.
    pub(super) config: Value,
    /// For the entity and for the config.
    pub(super) checks: [Option<Rc<dyn Check>>; 2],
    /// The vault references that have been found in the config.
    pub(super) references: Vec<Referenced>,
}

impl Judged {
    fn new(entity: Value, config: Value, checks: [Option<Rc<dyn Check>>; 2]) -> Self {
        Self { entity, config, checks, references: Vec::new() }
    }
}

/// Checks every draft. The answer has the order of the drafts.
pub(super) fn judge(drafts: &[Draft], schemas: &dyn Schemas, report: &mut Report) -> Vec<Judged> {
    let mut missing = HashSet::new();
    let mut judged = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let schema = schemas.entity(draft.kind.name);
        if let Support::Membership = draft.kind.support {
            judged.push(membership(draft, report));
        } else if let Some(schema) = schema {
            judged.push(entity(draft, schema, schemas, report));
        } else {
            // Once for each file, not for each of a thousand credentials.
            if missing.insert((draft.document, draft.kind.name)) {
                let message = format!("'{}' is not built yet", draft.kind.name);
                report.error(draft.at("id"), message).hint =
                    Some("nothing here would read it; take it out of the file".to_owned());
            }
            judged.push(Judged::new(json!({}), Value::Null, [None, None]));
        }
    }
    judged
}

fn entity(
    draft: &Draft,
    schema: Rc<dyn Check>,
    schemas: &dyn Schemas,
    report: &mut Report,
) -> Judged {
    let Value::Object(mut input) = draft.node.to_value() else {
        return Judged::new(json!({}), Value::Null, [None, None]);
    };
    if draft.node.field("id").is_none() && schema.fields(&[]).contains(&"id") {
        input.insert("id".to_owned(), json!(draft.id));
    }
    for (field, id) in &draft.links {
        input.insert((*field).to_owned(), json!({ "id": id }));
    }
    if draft.kind.name == "plugins" {
        return plugin(draft, input, schema, schemas, report);
    }
    let (entity, errors) = schema.process(Value::Object(input));
    tell(&errors, draft, &[], &*schema, report);
    Judged::new(entity, Value::Null, [Some(schema), None])
}

fn plugin(
    draft: &Draft,
    mut input: Map<String, Value>,
    schema: Rc<dyn Check>,
    schemas: &dyn Schemas,
    report: &mut Report,
) -> Judged {
    // Kong knows the entity around a plugin only later: a plugin that may not name a consumer may
    // still stand under one.
    if let Some((around, _)) = draft.parent
        && draft.node.field(around).is_none()
    {
        input.remove(around);
    }
    let own = schema_of_plugin(draft, schemas, report);
    let whole = own.as_ref().and_then(|own| own.process_entity(&input));
    if let Some((mut entity, errors)) = whole {
        let (of_config, of_entity): (Vec<_>, Vec<_>) = errors.into_iter().partition(in_config);
        tell(&of_entity, draft, &[], &*schema, report);
        let below = |mut error: Error| {
            error.path.remove(0);
            error
        };
        let of_config: Vec<_> = of_config.into_iter().map(below).collect();
        if let Some(own) = &own {
            tell(&of_config, draft, &[Step::Field("config".to_owned())], &**own, report);
        }
        let config = entity["config"].take();
        if let Value::Object(entity) = &mut entity {
            entity.remove("config");
        }
        return Judged::new(entity, config, [Some(schema), own]);
    }
    let config = input.remove("config");
    let first = report.errors.len();
    let (entity, errors) = schema.process(Value::Object(input));
    tell(&errors, draft, &[], &*schema, report);
    let Some(own) = own else {
        // Kong looks at nothing else of a plugin that it does not know.
        let is_name = |problem: &Problem| {
            problem.path.0.last().and_then(Step::name) == Some("name")
                && problem.path.0.len() == draft.path.0.len() + 1
        };
        let others = report.errors[first..].iter_mut().filter(|problem| !is_name(problem));
        others.for_each(|problem| problem.kong = Kong::Own);
        return Judged::new(entity, Value::Null, [Some(schema), None]);
    };
    let (config, errors) = own.process(match config {
        None | Some(Value::Null) => json!({}),
        Some(Value::Array(items)) if items.is_empty() => json!({}),
        Some(config) => config,
    });
    tell(&errors, draft, &[Step::Field("config".to_owned())], &*own, report);
    Judged::new(entity, config, [Some(schema), Some(own)])
}

fn in_config(error: &Error) -> bool {
    error.path.first().and_then(Step::name) == Some("config")
}

/// The schema of the plugin that a draft names; a name of another type is the entity's to refuse.
fn schema_of_plugin(
    draft: &Draft,
    schemas: &dyn Schemas,
    report: &mut Report,
) -> Option<Rc<dyn Check>> {
    let name = draft.node.field("name")?.as_str()?;
    let message = match schemas.plugin(name) {
        Ok(schema) => return Some(schema),
        Err(message) => message,
    };
    let path = draft.path.field("name");
    let known = schemas.plugin_names();
    let near = || report.suggest(name, known.iter().map(String::as_str));
    let hint = schemas.hint(name).or_else(near).unwrap_or_else(|| {
        "silverback has no such plugin; one in Lua is found on lua_package_path".to_owned()
    });
    report.error(At { path: &path, ..draft.at("name") }, message).hint = Some(hint);
    None
}

/// Links two entities; Kong's fields without a schema of ours.
fn membership(draft: &Draft, report: &mut Report) -> Judged {
    for (field, _) in draft.kind.foreign {
        if draft.link(field).is_none() {
            let path = draft.path.field(field);
            let at = At { path: &path, ..draft.at(field) };
            report.error(at, "required field missing");
        }
    }
    for entry in draft.node.entries() {
        let links = draft.kind.foreign.iter().map(|(field, _)| *field);
        let own = draft.kind.own.iter().copied();
        let mut known =
            ["id", "tags", "created_at", "updated_at"].into_iter().chain(links).chain(own);
        if !known.clone().any(|name| name == entry.key) {
            let path = draft.path.field(&entry.key);
            let at = At { path: &path, ..draft.at(&entry.key) };
            unknown_field(report, at, &entry.key, &mut known);
        }
    }
    Judged::new(json!({}), Value::Null, [None, None])
}

/// Reports what a schema found in the value at `base` of an entity.
fn tell(errors: &[Error], draft: &Draft, base: &[Step], schema: &dyn Check, report: &mut Report) {
    for error in errors {
        let (relative, of_record) = match error.path.split_last() {
            Some((Step::Field(name), path)) if name == "@entity" => (path, true),
            _ => (error.path.as_slice(), error.of_record),
        };
        let steps = [base, relative].concat();
        let path = draft.path.join(&steps);
        let at = At { document: draft.document, path: &path, pos: draft.node.locate(&steps) };
        if let (true, Some((Step::Field(name), above))) =
            (error.message == UNKNOWN, relative.split_last())
        {
            let fields = schema.fields(above).into_iter();
            let at_top = base.is_empty() && above.is_empty();
            let plugin = draft.node.field("name").and_then(Node::as_str).unwrap_or_default();
            let of_plugin = || edition::hint_of_plugin(plugin, name);
            let foreign = match draft.kind.name {
                "plugins" if !base.is_empty() && above.is_empty() => of_plugin(),
                collection => edition::hint(collection, name).filter(|_| at_top),
            };
            if foreign.is_some() {
                report.error(at, UNKNOWN).hint = foreign;
                continue;
            }
            let children = draft.kind.children().filter(|_| at_top).map(as_str);
            unknown_field(report, at, name, fields.chain(children));
            continue;
        }
        let about = if of_record { About::Record } else { About::Value };
        let given = draft.node.at(&steps);
        let of_plugin = draft.kind.name == "plugins";
        let hint = given.and_then(|given| value_hint(&error.message, given, of_plugin, report));
        let hint = hint.or_else(|| field_hint(error, relative, schema));
        let problem = report.error(at, error.message.clone());
        (problem.about, problem.hint) = (about, hint);
    }
}

/// What may help against an error about a field that the schema asks for and does not have.
fn field_hint(error: &Error, path: &[Step], schema: &dyn Check) -> Option<String> {
    let (Step::Field(name), above) = path.split_last()? else { return None };
    let is_missing = error.message == "field required for entity check"
        && !schema.fields(above).contains(&name.as_str());
    is_missing.then(|| "the schema names it in entity_checks, but has no such field".to_owned())
}

/// What may help against an error about a value.
fn value_hint(message: &str, given: &Node, of_plugin: bool, report: &Report) -> Option<String> {
    if let Some(options) = message.strip_prefix("expected one of: ") {
        return report.suggest(given.as_str()?, options.split(", "));
    }
    if message.starts_with("unknown type: ") {
        return Some(format!("the protocols are {}", PROTOCOLS.join(", ")));
    }
    if message == "value must be null" && !matches!(given.data, Data::List(_)) {
        return Some("this plugin cannot be limited to it".to_owned()).filter(|_| of_plugin);
    }
    let kind = match &given.data {
        Data::Scalar(Value::Bool(_)) => "a boolean",
        Data::Scalar(Value::Number(_)) => "a number",
        _ => return None,
    };
    (message == "expected a string").then(|| format!("without quotes it is {kind}"))
}

/// Lets a static name stand beside names that live shorter.
fn as_str<'a>(name: &'static str) -> &'a str {
    name
}

/// What a Route's set of protocols is made of.
const PROTOCOLS: [&str; 8] =
    ["http", "https", "grpc", "grpcs", "tcp", "tls", "tls_passthrough", "udp"];

/// Kong's text for a field that no schema declares.
const UNKNOWN: &str = "unknown field";
