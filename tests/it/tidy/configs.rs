//! A native plugin's schema.lua and its Rust type declare the same fields.
//!
//! serde takes a missing `Option` for `None`, so a field that only one side knows could go
//! unnoticed. Each record of a filled configuration is therefore given one field too many, and
//! serde's complaint about it names all the fields that the Rust side knows.

use std::collections::BTreeSet;
use std::sync::Arc;

use regex::Regex;
use serde_json::{Value, json};
use silverback::config::{self, Source};
use silverback::entity::PluginEntity;
use silverback::gateway::Control;
use silverback::lua::schema::LuaSchemas;
use silverback::lua::{Options, Vm};
use silverback::plugins::{Context, NATIVE, Native};
use silverback::settings::{Env, Settings};
use silverback::shared::Shared;
use silverback::snapshot::Snapshot;

/// A field that no plugin has.
const STRANGER: &str = "no_such_field";

/// What is no record but a map, which takes any name.
const MAPS: [(&str, &str); 1] = [("response-ratelimiting", "/limits")];

/// A configuration in which every record that the plugin reads is there.
fn example(plugin: &str) -> Value {
    let target = json!({
        "route_type": "llm/v1/chat",
        "auth": {"header_name": "api-key", "header_value": "k"},
        "model": {
            "provider": "azure",
            "name": "gpt-4o",
            "options": {"azure_instance": "i", "azure_deployment_id": "d"},
        },
    });
    match plugin {
        "ai-azure-content-safety" => json!({
            "content_safety_url": "http://localhost/contentsafety/text:analyze",
            "content_safety_key": "k",
            "categories": [{"name": "Hate", "rejection_level": 2}],
        }),
        "ai-prompt-decorator" => {
            let message = json!([{"content": "x"}]);
            json!({"prompts": {"prepend": message, "append": message}})
        }
        "ai-prompt-guard" => json!({"deny_patterns": ["x"]}),
        "ai-prompt-template" => json!({"templates": [{"name": "t", "template": "x"}]}),
        "ai-rate-limiting-advanced" => {
            let condition = json!({"type": "model", "values": ["m"]});
            let limit = json!({"limit": 1, "window_size": 60});
            json!({
                "llm_providers": [{"name": "azure", "limit": [1], "window_size": [60]}],
                "policies": [{"match": [condition], "limits": [limit]}],
                "redis": {"host": "localhost"},
            })
        }
        "ai-semantic-cache" => stores(),
        "ai-proxy" => target,
        "ai-request-transformer" | "ai-response-transformer" => {
            json!({"prompt": "x", "llm": target})
        }
        "ai-proxy-advanced" => json!({
            "targets": [target],
            "balancer": {"algorithm": "priority", "cooling": {}, "spill": {}},
            "acls": {"allow": [{"match": [{"type": "ip", "values": ["::1"]}]}]},
            "embeddings": stores()["embeddings"], "vectordb": stores()["vectordb"],
        }),
        "acl" => json!({"allow": ["g"]}),
        "file-log" => json!({"path": "/dev/null"}),
        "http-log" => json!({"http_endpoint": "http://localhost", "queue": {}}),
        "opentelemetry" => {
            let endpoint = "http://localhost/v1/traces";
            json!({"traces_endpoint": endpoint, "metrics": {"endpoint": endpoint}, "queue": {}})
        }
        "ip-restriction" => json!({"allow": ["::1"]}),
        "rate-limiting" => json!({"second": 1, "redis": {"host": "localhost"}}),
        "response-ratelimiting" => {
            json!({"limits": {"a": {"second": 1}}, "redis": {"host": "localhost"}})
        }
        "redirect" => json!({"location": "http://x"}),
        "proxy-cache" => json!({"strategy": "memory"}),
        _ => json!({}),
    }
}

/// What compares meanings.
fn stores() -> Value {
    json!({
        "embeddings": {
            "auth": {"header_name": "Authorization", "header_value": "Bearer k"},
            "model": {"provider": "openai", "name": "text-embedding-3-small", "options": {
                "azure": {},
            }},
        },
        "vectordb": {
            "strategy": "redis", "dimensions": 1536, "distance_metric": "cosine",
            "redis": {"host": "localhost"}, "pgvector": {"host": "localhost"},
        },
    })
}

/// The places of all records: JSON pointers.
fn records(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            found.push(at.to_owned());
            object.iter().for_each(|(name, value)| records(value, &format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.for_each(|(index, item)| records(item, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

/// The fields that the Rust side knows at a place; `None` if it takes any.
fn known(native: &Native, context: &Context<'_>, place: &str) -> Option<BTreeSet<String>> {
    let mut entity = PluginEntity::clone(context.entity);
    let record = entity.config.pointer_mut(place)?;
    record[STRANGER] = Value::Null;
    let context = Context { entity: &Arc::new(entity), ..*context };
    let complaints = (native.make)(&context).err()?;
    let about = |line: &&String| line.contains(&format!("unknown field `{STRANGER}`"));
    let complaint = complaints.iter().find(about)?;
    let names = Regex::new("`([^`]+)`").unwrap();
    let names = names.captures_iter(complaint.split_once("expected")?.1);
    Some(names.map(|found| found[1].to_owned()).collect())
}

fn compare(native: &Native, context: &Context<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    if let Err(errors) = (native.make)(context) {
        faults.push(format!("{}: {}", native.name, errors.join("; ")));
    }
    let mut places = Vec::new();
    records(&context.entity.config, "", &mut places);
    places.retain(|place| !MAPS.contains(&(native.name, place.as_str())));
    for place in places {
        let record = context.entity.config.pointer(&place).and_then(Value::as_object).unwrap();
        let schema: BTreeSet<String> = record.keys().cloned().collect();
        match known(native, context, &place) {
            None => faults.push(format!("{}{place}: the Rust type takes any field", native.name)),
            Some(rust) if rust != schema => {
                let only: Vec<_> = schema.symmetric_difference(&rust).collect();
                faults.push(format!("{}{place}: only one side knows {only:?}", native.name));
            }
            Some(_) => {}
        }
    }
    faults
}

fn snapshot(native: &Native, settings: &Settings) -> Snapshot {
    let schemas = LuaSchemas::new(Vm::new(&Options::default()).unwrap(), &settings.plugins);
    let plugin = json!({"name": native.name, "config": example(native.name)});
    let text = json!({"_format_version": "3.0", "plugins": [plugin]}).to_string();
    let source = Source { name: "kong.json".to_owned(), text };
    let loaded = config::load(&[source], &schemas, &Env::default());
    loaded.unwrap_or_else(|errors| panic!("{}: {errors}", native.name)).snapshot
}

#[test]
fn native_configs_match_their_schemas() {
    silverback::tls::install_provider();
    let control = Control::start().unwrap();
    let settings = Settings::defaults();
    let shared = Arc::new(Shared::new(settings, control.handle.clone(), None).unwrap());
    let mut faults = Vec::new();
    for native in NATIVE {
        let snapshot = Arc::new(snapshot(native, &shared.settings));
        let entity = &snapshot.plugins[0];
        let (shared, snapshot) = (&shared, &snapshot);
        let counting = &|_: &PluginEntity, _: &str| Err("this test has no Lua".to_owned());
        let context = Context { shared, snapshot, entity, findings: None, state: None, counting };
        faults.extend(compare(native, &context));
    }
    control.stop();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
