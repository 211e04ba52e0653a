//! `kong.response`: what the client gets.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode};
use mlua::{Lua, MultiValue, Value};

use super::value::{self, one};
use super::{Call, Phases, Row};
use crate::lua::bind::{Answer, Fault};
use crate::lua::cjson;
use crate::pdk::{Exchange, Phase, Source};
use crate::respond;

pub(super) const ROWS: &[Row] = &[
    Row::now("response.get_status", Phases::RESPONSE, |lua, ex, _| {
        one(lua, ex.response.status().as_u16())
    }),
    Row::now("response.get_header", Phases::RESPONSE, |lua, ex, mut args| {
        let name = value::text(&mut args, "header name must be a string")?;
        match value::header(&ex.response.headers(), &name) {
            Some(found) => one(lua, lua.create_string(found.as_bytes())?),
            None => one(lua, Value::Nil),
        }
    }),
    Row::now("response.get_headers", Phases::RESPONSE, |lua, ex, mut args| {
        let limit = value::limit(&mut args, "max_headers")?;
        value::headers(lua, &ex.response.headers(), limit)
    }),
    Row::now("response.get_source", Phases::RESPONSE, |lua, ex, _| {
        one(
            lua,
            match ex.response.source() {
                Source::Service => "service",
                Source::Exit => "exit",
                Source::Error => "error",
            },
        )
    }),
    Row::now("response.set_status", Phases::RESPONSE_CHANGE, |lua, ex, mut args| {
        ex.response.set_status(status(args.pop_front(), 100)?);
        one(lua, ())
    }),
    Row::now("response.set_header", Phases::RESPONSE_CHANGE, |lua, ex, mut args| {
        let (name, values) = value::header_and_values(&mut args)?;
        put(ex, &name, values);
        one(lua, ())
    }),
    Row::now("response.add_header", Phases::RESPONSE_CHANGE, |lua, ex, mut args| {
        let (name, values) = value::header_and_values(&mut args)?;
        if !is_framing(&name) {
            values.into_iter().for_each(|value| ex.response.add_header(name.clone(), value));
        }
        one(lua, ())
    }),
    Row::now("response.clear_header", Phases::RESPONSE_CHANGE, |lua, ex, mut args| {
        let name = value::header_name(&mut args, "header name must be a string")?;
        ex.response.clear_header(name);
        one(lua, ())
    }),
    Row::now("response.set_headers", Phases::RESPONSE_CHANGE, |lua, ex, mut args| {
        let table = value::table(&mut args, "headers must be a table")?;
        for (name, values) in value::headers_of(&table)? {
            put(ex, &name, values);
        }
        one(lua, ())
    }),
    Row { name: "response.exit", phases: Phases::RESPONSE_CHANGE, call: Call::Exit(exit) },
    Row { name: "response.error", phases: Phases::RESPONSE_CHANGE, call: Call::Exit(error) },
];

const JSON: &str = "application/json; charset=utf-8";

fn put(ex: &Exchange, name: &HeaderName, values: Vec<HeaderValue>) {
    if is_framing(name) {
        return;
    }
    ex.response.clear_header(name);
    for value in values {
        ex.response.add_header(name.clone(), value);
    }
}

/// Whether the server alone says this, since it alone knows how the body goes out (Kong's words).
fn is_framing(name: &HeaderName) -> bool {
    let is_framing = name == TRANSFER_ENCODING;
    if is_framing {
        tracing::warn!(target: "lua", "manually setting Transfer-Encoding. Ignored.");
    }
    is_framing
}

fn status(value: Option<Value>, least: u16) -> Result<StatusCode, Fault> {
    let code = match value {
        Some(Value::Integer(code)) => u16::try_from(code).ok(),
        Some(Value::Number(code)) => Some(code as u16),
        _ => return Err("code must be a number".into()),
    };
    let code = code.filter(|code| (least..=599).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or_else(|| format!("code must be a number between {least} and 599").into())
}

/// `kong.response.exit(status, body, headers)`: a table goes out as JSON.
fn exit(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let status = status(args.pop_front(), 100)?;
    let (body, kind) = match args.pop_front() {
        None | Some(Value::Nil) => (Bytes::new(), None),
        Some(Value::String(text)) => (Bytes::copy_from_slice(&text.as_bytes()), None),
        Some(table @ Value::Table(_)) => (encoded(lua, &table)?, Some(JSON)),
        Some(_) => return Err("body must be a nil, string or table".into()),
    };
    let headers = headers(args.pop_front())?;
    let own_kind = headers.iter().any(|(name, _)| name == CONTENT_TYPE);
    let body = promised(&headers, body);
    for (name, values) in headers {
        put(ex, &name, values);
    }
    let _ = ex.response.exit(status, kind.filter(|_| !own_kind), body);
    one(lua, ends_here(ex))
}

/// The body as its reader gets it: no more of it than a `Content-Length` of the plugin's promises.
fn promised(headers: &[(HeaderName, Vec<HeaderValue>)], body: Bytes) -> Bytes {
    let length = headers.iter().find(|(name, _)| name == CONTENT_LENGTH);
    let length = length.and_then(|(_, values)| values.last()?.to_str().ok()?.parse::<usize>().ok());
    match length {
        Some(length) if length < body.len() => body.slice(..length),
        _ => body,
    }
}

fn encoded(lua: &Lua, table: &Value) -> Result<Bytes, Fault> {
    cjson::encode(lua, table).map(Bytes::from).map_err(|fault| match fault {
        Fault::Caller(told) => {
            format!("body encoding failed while flushing response: {told}").into()
        }
        fault @ Fault::Lua(_) => fault,
    })
}

/// `kong.response.error(status, message, headers)`: the body is what the client accepts.
fn error(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let status = status(args.pop_front(), 400)?;
    let message = match args.pop_front() {
        None | Some(Value::Nil) => match respond::default_message(status) {
            "" => format!("The upstream server responded with {}", status.as_u16()),
            words => words.to_owned(),
        },
        Some(table @ Value::Table(_)) => {
            // Kong takes a table as the whole JSON body.
            let body = encoded(lua, &table)?;
            let headers = headers(args.pop_front())?;
            headers.into_iter().for_each(|(name, values)| put(ex, &name, values));
            let _ = ex.response.exit(status, Some(JSON), body);
            return one(lua, ends_here(ex));
        }
        Some(Value::String(message)) => message.to_string_lossy(),
        Some(_) => return Err("message must be a nil, a string or a table".into()),
    };
    for (name, values) in headers(args.pop_front())? {
        put(ex, &name, values);
    }
    let _ = respond::error(ex, status, &message);
    one(lua, ends_here(ex))
}

fn headers(value: Option<Value>) -> Result<Vec<(HeaderName, Vec<HeaderValue>)>, Fault> {
    match value {
        None | Some(Value::Nil) => Ok(Vec::new()),
        Some(Value::Table(table)) => value::headers_of(&table),
        Some(_) => Err("headers must be a nil or table".into()),
    }
}

/// Whether the plugin ends with its answer: where it may wait, it never returns.
fn ends_here(ex: &Exchange) -> bool {
    matches!(ex.phase(), Phase::Rewrite | Phase::Access | Phase::Response)
}
