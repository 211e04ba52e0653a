//! `kong.vault`: secrets that references name, for plugins that look them up themselves.

use mlua::{Lua, MultiValue, Value};

use super::Row;
use super::value::{kind, one, shown};
use crate::lua::bind::{Answer, Fault};
use crate::lua::cjson;
use crate::lua::ngx::encode;
use crate::lua::rows;
use crate::settings::{Reference, Unresolved, Vault, is_reference};
use crate::snapshot::Snapshot;

pub(super) const ROWS: &[Row] = &[
    Row::anywhere("vault.is_reference", |lua, mut args| {
        let text = args.pop_front().and_then(|value| Some(value.as_string()?.to_string_lossy()));
        one(lua, text.is_some_and(|text| is_reference(&text)))
    }),
    Row::anywhere("vault.parse_reference", parse_reference),
    Row::anywhere("vault.get", get),
];

/// The text of the first argument, or Kong's refusal.
fn reference(args: &mut MultiValue) -> Result<Result<String, String>, Fault> {
    let value = args.pop_front().unwrap_or(Value::Nil);
    let text = match &value {
        Value::String(text) => text.to_string_lossy(),
        other => shown(other)?,
    };
    let fits = matches!(value, Value::String(_)) && is_reference(&text);
    Ok(if fits { Ok(text) } else { Err(format!("not a reference [{text}]")) })
}

/// The parts of a reference, as Kong's table.
fn parse_reference(lua: &Lua, mut args: MultiValue) -> Answer {
    let text = match reference(&mut args)? {
        Ok(text) => text,
        Err(told) => return one(lua, (Value::Nil, told)),
    };
    let inner = text.trim_start_matches("{vault://").trim_end_matches('}');
    let (inner, version) = match inner.split_once('#') {
        Some((inner, version)) => (inner, Some(version)),
        None => (inner, None),
    };
    let (inner, query) = inner.split_once('?').unwrap_or((inner, ""));
    let refusal = match inner.split_once('/') {
        _ if inner.is_empty() || inner.starts_with('/') => Some("is missing host"),
        None => Some("is missing path"),
        Some((_, "")) => Some("has empty path"),
        Some(_) if version.is_some_and(|version| version.parse::<u32>().is_err()) => {
            Some("has invalid version")
        }
        Some(_) => None,
    };
    if let Some(refusal) = refusal {
        return one(lua, (Value::Nil, format!("reference url {refusal} [{text}]")));
    }
    let Ok(parsed) = Reference::parse(&text) else {
        return one(lua, (Value::Nil, format!("reference url has invalid path [{text}]")));
    };
    let table = lua.create_table()?;
    table.raw_set("name", parsed.vault)?;
    table.raw_set("resource", parsed.resource)?;
    table.raw_set("key", parsed.key)?;
    table.raw_set("version", version.and_then(|version| version.parse::<u32>().ok()))?;
    if !query.is_empty() {
        let mut config = encode::decoded_args(lua, query.as_bytes(), 100)?;
        table.raw_set("config", config.pop_front())?;
    }
    one(lua, table)
}

/// The value that a reference names now; nil and why it has none.
fn get(lua: &Lua, mut args: MultiValue) -> Answer {
    let text = match reference(&mut args)? {
        Ok(text) => text,
        Err(told) => return one(lua, (Value::Nil, told)),
    };
    let Some(snapshot) = rows::snapshot(lua) else { return one(lua, Value::Nil) };
    let resolved = Reference::parse(&text).and_then(|reference| resolve(&snapshot, &reference));
    match resolved {
        Ok(secret) => one(lua, lua.create_string(secret)?),
        Err(reason) => {
            let told = match reason {
                Unresolved::Variable(_) => "no value found".to_owned(),
                Unresolved::Key { key, .. } => {
                    let told = no_member(lua, &snapshot, &text, &key)?;
                    format!("could not get subfield value: {told}")
                }
                Unresolved::Vault(name) => {
                    let told = format!("could not find vault ({name})");
                    return one(lua, (Value::Nil, told));
                }
                other => other.to_string(),
            };
            let told = format!("could not get value from external vault ({told})");
            one(lua, (Value::Nil, told))
        }
    }
}

/// Why a secret has no such member. Kong quotes a secret that is JSON and no table: not here.
fn no_member(lua: &Lua, snapshot: &Snapshot, text: &str, key: &str) -> mlua::Result<String> {
    let secret = Reference::parse(text).and_then(|mut whole| {
        whole.key = None;
        resolve(snapshot, &whole)
    });
    let secret = secret.unwrap_or_default();
    Ok(match cjson::decode(lua, secret.as_bytes(), cjson::DecodeOptions::default()) {
        Ok(Value::Table(members)) => match members.raw_get::<Value>(key)? {
            Value::Nil | Value::String(_) => format!("subfield {key} not found in JSON secret"),
            other => {
                let kind = kind(&other);
                format!("unexpected {kind} value in JSON secret for subfield {key}")
            }
        },
        Ok(_) => "unable to json decode value (***): nil".to_owned(),
        Err(Fault::Caller(told)) => format!("unable to json decode value (nil): {told}"),
        Err(Fault::Lua(error)) => return Err(error),
    })
}

/// The value, from the variables that the configuration was loaded with.
fn resolve(snapshot: &Snapshot, reference: &Reference) -> Result<String, Unresolved> {
    reference.secret(&snapshot.env, |name| {
        let vaults = snapshot.records.get("vaults").map(Vec::as_slice).unwrap_or_default();
        let named = vaults.iter().find(|vault| vault.json["prefix"] == name);
        named.map(|vault| Vault::of(&vault.json))
    })
}
