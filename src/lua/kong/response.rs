//! `kong.response`: what the client gets.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode};
use mlua::{Lua, MultiValue, Value};

use super::quick::source;
use super::value::{self, one};
use super::{Call, Phases, Row};
use crate::lua::bind::{Answer, Fault};
use crate::lua::cjson;
use crate::lua::ngx::output::{is_head_out, is_silent};
use crate::pdk::{Exchange, Phase};
use crate::respond;

pub(super) const ROWS: &[Row] = &[
    Row::now("response.get_status", Phases::RESPONSE, |lua, ex, _| {
        one(lua, ex.response.status().as_u16())
    }),
    Row::now("response.get_header", Phases::RESPONSE, |lua, ex, mut args| {
        let name = value::text(&mut args, "header name must be a string")?;
        match value::header_within(&ex.response.headers(), &name.as_bytes()) {
            Some(found) => one(lua, lua.create_string(found.as_bytes())?),
            None if name.as_bytes().eq_ignore_ascii_case(b"connection") => {
                one(lua, ex.connection())
            }
            None => one(lua, Value::Nil),
        }
    }),
    Row::now("response.get_headers", Phases::RESPONSE, |lua, ex, mut args| {
        let limit = value::limit(&mut args, "max_headers")?;
        value::headers(lua, &ex.response_headers(), limit)
    }),
    Row::now("response.get_source", Phases::RESPONSE, |lua, ex, _| one(lua, source(ex))),
    Row::now("response.set_status", Phases::RESPONSE_CHANGE, |lua, ex, mut args| {
        unsent(lua, ex)?;
        ex.response.set_status(status(args.pop_front(), 100)?);
        one(lua, ())
    }),
    Row::now("response.set_header", Phases::RESPONSE_CHANGE, |lua, ex, mut args| {
        unsent(lua, ex)?;
        let (name, values) = value::header_and_values(&mut args)?;
        let name = dashed(name);
        put(ex, &name, values);
        one(lua, ())
    }),
    Row::now("response.add_header", Phases::RESPONSE_CHANGE, |lua, ex, mut args| {
        unsent(lua, ex)?;
        let (name, values) = value::header_and_values(&mut args)?;
        let name = dashed(name);
        if !is_framing(&name) {
            values.into_iter().for_each(|value| ex.response.add_header(name.clone(), value));
        }
        one(lua, ())
    }),
    Row::now("response.clear_header", Phases::RESPONSE_CHANGE, |lua, ex, mut args| {
        unsent(lua, ex)?;
        if let Some(name) = value::header_name(&mut args, "header name must be a string")? {
            ex.response.clear_header(dashed(name));
        }
        one(lua, ())
    }),
    Row::now("response.set_headers", Phases::RESPONSE_CHANGE, |lua, ex, mut args| {
        unsent(lua, ex)?;
        let table = value::table(&mut args, "headers must be a table")?;
        for (name, values) in value::headers_of(&table)? {
            put(ex, &dashed(name), values);
        }
        one(lua, ())
    }),
    Row { name: "response.exit", phases: Phases::RESPONSE_CHANGE, call: Call::Exit(exit) },
    Row { name: "response.error", phases: Phases::RESPONSE_CHANGE, call: Call::Exit(error) },
];

/// OpenResty makes `_` a `-` in the names of a response's headers.
fn dashed(name: HeaderName) -> HeaderName {
    if !name.as_str().contains('_') {
        return name;
    }
    HeaderName::try_from(name.as_str().replace('_', "-")).unwrap_or(name)
}

const JSON: &str = "application/json; charset=utf-8";

fn put(ex: &Exchange, name: &HeaderName, values: Vec<HeaderValue>) {
    if is_framing(name) {
        return;
    }
    let mut values = values.into_iter();
    match values.next() {
        Some(first) => ex.response.set_header(name, first),
        None => ex.response.clear_header(name),
    }
    values.for_each(|value| ex.response.add_header(name, value));
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
    unsent(lua, ex)?;
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
    hang_up(ex, status);
    one(lua, ends_here(ex))
}

/// Kong ends in `ngx.exit`, which hangs up for some statuses.
fn hang_up(ex: &Exchange, status: StatusCode) {
    ex.response.hangs_up.set(ends_here(ex) && is_silent(status.as_u16()));
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

/// `kong.response.error(status, message, headers)`: the body is of the type that the headers name,
/// or that the client accepts.
fn error(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    unsent(lua, ex)?;
    let status = status(args.pop_front(), 400)?;
    let message = match args.pop_front() {
        None | Some(Value::Nil) => match respond::default_message(status) {
            "" => format!("The upstream server responded with {}", status.as_u16()),
            words => words.to_owned(),
        },
        Some(Value::String(message)) => message.to_string_lossy(),
        Some(table @ Value::Table(_)) => {
            let body = cjson::encode(lua, &table).map_err(|fault| match fault {
                Fault::Caller(told) => {
                    format!("could not JSON encode the error message: {told}").into()
                }
                fault @ Fault::Lua(_) => fault,
            })?;
            String::from_utf8_lossy(&body).into_owned()
        }
        Some(_) => return Err("message must be a nil, a string or a table".into()),
    };
    let headers = headers(args.pop_front())?;
    let kind = headers.iter().find(|(name, _)| name == CONTENT_TYPE);
    let kind = kind.and_then(|(_, values)| Some(values.first()?.to_str().ok()?.to_owned()));
    for (name, values) in headers {
        put(ex, &name, values);
    }
    let _ = match kind {
        Some(kind) => respond::error_of_type(ex, status, &message, &kind),
        None => respond::error(ex, status, &message),
    };
    hang_up(ex, status);
    one(lua, ends_here(ex))
}

/// Nothing changes once a plugin has printed (`ngx.say`), which sends the head.
fn unsent(lua: &Lua, ex: &Exchange) -> Result<(), Fault> {
    match is_head_out(lua, ex)? {
        true => Err("headers have already been sent".into()),
        false => Ok(()),
    }
}

fn headers(value: Option<Value>) -> Result<Vec<(HeaderName, Vec<HeaderValue>)>, Fault> {
    match value {
        None | Some(Value::Nil) => Ok(Vec::new()),
        Some(Value::Table(table)) => {
            let headers = value::headers_of(&table)?;
            Ok(headers.into_iter().map(|(name, values)| (dashed(name), values)).collect())
        }
        Some(_) => Err("headers must be a nil or table".into()),
    }
}

/// Whether the plugin ends with its answer: where it may wait, it never returns.
fn ends_here(ex: &Exchange) -> bool {
    matches!(ex.phase(), Phase::Rewrite | Phase::Access | Phase::Response)
}
