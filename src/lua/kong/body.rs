//! Bodies: what the upstream gets and sent, and what the client gets.

use std::fmt::Write as _;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use mlua::{Lua, MultiValue, Table, Value};

use super::value::{self, one};
use super::{Phases, Row, multipart};
use crate::lua::bind::{Answer, Fault};
use crate::lua::ngx::{self, encode, var};
use crate::lua::{cjson, state};
use crate::pdk::Exchange;
use crate::pdk::service::without_argument;

pub(super) const ROWS: &[Row] = &[
    Row::now("service.request.enable_buffering", Phases::TARGET_CHANGE, |lua, ex, _| {
        ex.service.buffered.set(true);
        one(lua, ())
    }),
    Row::now("service.request.set_query", Phases::REQUEST_CHANGE, |lua, ex, mut args| {
        let table = value::table(&mut args, "args must be a table")?;
        let query = ordered(lua, &table)?;
        ex.service.set_query((!query.is_empty()).then_some(query));
        one(lua, ())
    }),
    Row::now("service.request.clear_query_arg", Phases::REQUEST_CHANGE, |lua, ex, mut args| {
        let name = value::text(&mut args, "query argument name must be a string")?;
        clear_query_arg(ex, &name.as_bytes());
        one(lua, ())
    }),
    Row::now("service.request.set_body", Phases::REQUEST_CHANGE, set_body),
    Row::now("service.response.get_raw_body", Phases::SERVICE_RESPONSE, |lua, ex, _| {
        one(lua, lua.create_string(&upstream_body(ex)?)?)
    }),
    Row::now("service.response.get_body", Phases::SERVICE_RESPONSE, |lua, ex, mut args| {
        let body = upstream_body(ex)?;
        let mime = match args.pop_front() {
            Some(Value::String(mime)) => Some(mime.to_string_lossy()),
            _ => text_of(ex.response.header(CONTENT_TYPE)),
        };
        decoded(lua, &body, mime, args.pop_front())
    }),
    Row::now("response.get_raw_body", Phases::BODY_FILTER, get_raw_body),
    Row::now("response.set_raw_body", Phases::BODY_FILTER, |lua, ex, mut args| {
        let body = value::text(&mut args, "body must be a string")?;
        let arg = ngx::arg(lua)?;
        // An empty piece would not be sent by nginx, so Kong makes it a line break.
        if body.as_bytes().is_empty() {
            arg.raw_set(1, "\n")?
        } else {
            arg.raw_set(1, body)?
        }
        arg.raw_set(2, true)?;
        state::of(lua, ex).pieces.borrow_mut().take();
        one(lua, ())
    }),
];

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const MULTIPART: &str = "multipart/form-data";

fn text_of(value: Option<HeaderValue>) -> Option<String> {
    Some(value?.to_str().ok()?.to_owned())
}

/// Arguments as a query string in the order of their names.
fn ordered(lua: &Lua, args: &Table) -> Result<String, Fault> {
    let mut parts = Vec::new();
    for pair in args.pairs::<Value, Value>() {
        let (name, value) = pair?;
        if !name.is_string() {
            return Err("arg keys must be strings".into());
        }
        let one = lua.create_table()?;
        one.raw_set(name, value)?;
        let part = encode::encoded_args(&one)?;
        parts.push(String::from_utf8_lossy(&part).into_owned());
    }
    parts.sort();
    Ok(parts.join("&"))
}

/// Takes every argument of a name out of the query.
fn clear_query_arg(ex: &Exchange, name: &[u8]) {
    let Some(query) = var::query(ex).filter(|query| !query.is_empty()) else { return };
    ex.service.set_query(without_argument(&query, name));
}

fn set_body(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let table = value::table(&mut args, "args must be a table")?;
    let mime = match args.pop_front() {
        None | Some(Value::Nil) => text_of(ex.request.header(CONTENT_TYPE)),
        Some(Value::String(mime)) => Some(mime.to_string_lossy()),
        Some(_) => return Err("mime must be a string".into()),
    };
    let Some(mime) = mime else {
        let told =
            "content type was neither explicitly given as an argument or received as a header";
        return one(lua, (Value::Nil, told));
    };
    let (body, mime) = match mime.split(';').next().unwrap_or_default() {
        FORM => (ordered(lua, &table)?.into_bytes(), mime),
        JSON => (cjson::encode(lua, &Value::Table(table))?, mime),
        MULTIPART => multipart_body(&table, &mime)?,
        _ => return Err(format!("unsupported content type {mime}").into()),
    };
    ex.request.set_body(Bytes::from(body));
    state::of(lua, ex).sets_body.set(true);
    if let Ok(mime) = HeaderValue::from_str(&mime) {
        ex.request.set_header(CONTENT_TYPE, mime);
    }
    one(lua, true)
}

/// The fields of a form by name, with the boundary of the type or one of our own.
fn multipart_body(table: &Table, mime: &str) -> Result<(Vec<u8>, String), Fault> {
    let mut fields = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (name, value) = pair?;
        let Value::String(name) = &name else {
            let (shown, kind) = (name.to_string()?, value::kind(&name));
            return Err(format!("invalid key \"{shown}\": got {kind}, expected string").into());
        };
        let text = match &value {
            Value::String(text) => text.as_bytes().to_vec(),
            Value::Integer(_) | Value::Number(_) | Value::Boolean(_) => {
                value::shown(&value)?.into()
            }
            other => {
                let (name, kind) = (name.to_string_lossy(), value::kind(other));
                return Err(format!(
                    "invalid value \"{name}\": got {kind}, expected string, number or boolean"
                )
                .into());
            }
        };
        fields.push((name.to_string_lossy(), text));
    }
    fields.sort();
    let clashes = |boundary: &str| {
        let line = format!("\n--{boundary}");
        fields.iter().any(|(_, text)| memchr::memmem::find(text, line.as_bytes()).is_some())
    };
    let mut boundary = multipart::boundary(mime).unwrap_or_default();
    while boundary.is_empty() || clashes(&boundary) {
        boundary.clear();
        let _ = write!(boundary, "{}", fastrand::u64(1..10_000_000_000));
    }
    let mut body = Vec::new();
    for (name, text) in fields {
        let head =
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&text);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((body, format!("{MULTIPART}; boundary={boundary}")))
}

/// Whether bodies of a media type without parameters can be taken apart.
pub(super) fn is_readable(kind: &str) -> bool {
    [FORM, JSON, MULTIPART].iter().any(|known| kind.starts_with(known))
}

fn upstream_body(ex: &Exchange) -> Result<Bytes, Fault> {
    if !ex.service.buffered.get() && ex.response.held_body().is_none() {
        return Err("service body is only available with buffered proxying \
                    (see: kong.service.request.enable_buffering function)"
            .into());
    }
    Ok(ex.response.held_body().unwrap_or_default())
}

/// A body by its type: a table, what went wrong, and the type.
pub(super) fn decoded(
    lua: &Lua,
    body: &[u8],
    mime: Option<String>,
    limit: Option<Value>,
) -> Answer {
    let Some(mime) = mime else { return one(lua, (Value::Nil, "missing content type")) };
    let kind = mime.split(';').next().unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with(FORM) {
        let mut args = MultiValue::from_iter(limit);
        let limit = value::limit(&mut args, "max_args")?;
        let mut values = encode::decoded_args(lua, body, limit)?;
        let table = values.pop_front().unwrap_or(Value::Nil);
        one(lua, (table, Value::Nil, FORM))
    } else if kind.starts_with(JSON) {
        let options = cjson::DecodeOptions { marks: true, ..Default::default() };
        match cjson::decode(lua, body, options) {
            Ok(tree @ Value::Table(_)) => one(lua, (tree, Value::Nil, JSON)),
            Ok(_) | Err(Fault::Caller(_)) => one(lua, (Value::Nil, "invalid json body", JSON)),
            Err(fault @ Fault::Lua(_)) => Err(fault),
        }
    } else if kind.starts_with(MULTIPART) {
        match multipart::boundary(&mime) {
            Some(boundary) => {
                one(lua, (multipart::fields(lua, body, &boundary)?, Value::Nil, MULTIPART))
            }
            None => one(lua, (Value::Nil, "unable to decode multipart body", MULTIPART)),
        }
    } else {
        one(lua, (Value::Nil, format!("unsupported content type '{mime}'"), kind))
    }
}

/// The most bytes of a body that a plugin may collect piece by piece.
const COLLECTED: usize = 64 << 20;

/// Puts the pieces aside until the last one, and gives the whole then (Kong).
fn get_raw_body(lua: &Lua, ex: &Exchange, _: MultiValue) -> Answer {
    let arg = ngx::arg(lua)?;
    let is_last = arg.raw_get::<Value>(2)? == Value::Boolean(true);
    let piece = match arg.raw_get::<Value>(1)? {
        Value::String(piece) => piece.as_bytes().to_vec(),
        _ => Vec::new(),
    };
    let state = state::of(lua, ex);
    let mut pieces = state.pieces.borrow_mut();
    if is_last && pieces.is_none() {
        return one(lua, arg.raw_get::<Value>(1)?);
    }
    let collected = pieces.get_or_insert_default();
    if collected.len() + piece.len() > COLLECTED {
        return Err("the response body is too long to be collected".into());
    }
    collected.extend_from_slice(&piece);
    if !is_last {
        arg.raw_set(1, Value::Nil)?;
        return one(lua, ());
    }
    let whole = lua.create_string(pieces.take().unwrap_or_default())?;
    arg.raw_set(1, &whole)?;
    one(lua, whole)
}
