//! `kong.request`: what the client sent.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, COOKIE};
use http::{HeaderValue, Version};
use mlua::{Lua, LuaSerdeExt, MultiValue, Value};

use super::value::{self, one};
use super::{Call, Phases, Row};
use crate::lua::bind::{Answer, Fault};
use crate::lua::ngx::{encode, var};
use crate::lua::{Options, json, state};
use crate::pdk::{Exchange, ReadError};
use crate::router::path;

pub(super) const ROWS: &[Row] = &[
    Row::now("request.get_scheme", Phases::REQUEST, |lua, ex, _| one(lua, ex.request.scheme())),
    Row::now("request.get_host", Phases::REQUEST, |lua, ex, _| one(lua, &*ex.request.host())),
    Row::connected("request.get_port", |lua, connection| one(lua, connection.port)),
    Row::now("request.get_forwarded_scheme", Phases::REQUEST, |lua, ex, _| {
        one(lua, ex.request.forwarded_scheme())
    }),
    Row::now("request.get_forwarded_host", Phases::REQUEST, |lua, ex, _| {
        one(lua, ex.request.forwarded_host())
    }),
    Row::now("request.get_forwarded_port", Phases::REQUEST, |lua, ex, _| {
        one(lua, ex.request.forwarded_port())
    }),
    Row::now("request.get_forwarded_path", Phases::REQUEST, |lua, ex, _| {
        match ex.request.forwarded("x-forwarded-path") {
            Some(path) => one(lua, path),
            None => one(lua, path::decoded(ex.request.raw_path()).as_ref()),
        }
    }),
    Row::now("request.get_forwarded_prefix", Phases::REQUEST, |lua, ex, _| {
        let prefix = || ex.matched().and_then(|matched| matched.prefix.clone());
        one(lua, ex.request.forwarded("x-forwarded-prefix").or_else(prefix))
    }),
    Row::now("request.get_uri_captures", Phases::REQUEST, get_uri_captures),
    Row::now("request.get_http_version", Phases::REQUEST, |lua, ex, _| {
        one(lua, version(ex.request.version))
    }),
    Row::now("request.get_method", Phases::REQUEST, |lua, ex, _| one(lua, ex.method().as_str())),
    Row::now("request.get_path", Phases::REQUEST, |lua, ex, _| {
        one(lua, path::decoded(ex.request.raw_path()).as_ref())
    }),
    Row::now("request.get_raw_path", Phases::REQUEST, |lua, ex, _| one(lua, ex.request.raw_path())),
    Row::now("request.get_path_with_query", Phases::REQUEST, |lua, ex, _| {
        let query = ex.request.raw_query().map(|query| format!("?{query}"));
        one(lua, format!("{}{}", ex.request.raw_path(), query.unwrap_or_default()))
    }),
    Row::now("request.get_raw_query", Phases::REQUEST, |lua, ex, _| {
        one(lua, var::query(ex).unwrap_or_default())
    }),
    Row::now("request.get_query_arg", Phases::REQUEST, get_query_arg),
    Row::now("request.get_query", Phases::REQUEST, get_query),
    Row::now("request.get_header", Phases::REQUEST, get_header),
    Row::now("request.get_headers", Phases::REQUEST, |lua, ex, mut args| {
        let limit = value::limit(&mut args, "max_headers")?;
        value::headers(lua, &ex.request.headers(), limit)
    }),
    Row::now("request.get_start_time", Phases::REQUEST, |lua, ex, _| {
        one(lua, ex.times.started_at_ms.get())
    }),
    Row {
        name: "request.get_raw_body",
        phases: Phases::BEFORE_CONTENT,
        call: Call::Wait(|lua, ex, args| {
            Box::pin(async move { get_raw_body(&lua, &ex, args).await })
        }),
    },
    Row {
        name: "request.get_body",
        phases: Phases::BEFORE_CONTENT,
        call: Call::Wait(|lua, ex, args| Box::pin(async move { get_body(&lua, &ex, args).await })),
    },
    Row::now("router.get_route", Phases::ROUTED, |lua, ex, _| {
        one(lua, ex.matched().map(|m| json::entity(lua, &m.route.json)).transpose()?)
    }),
    Row::now("router.get_service", Phases::ROUTED, |lua, ex, _| {
        let service = ex.matched().and_then(|m| m.service.as_ref());
        one(lua, service.map(|service| json::entity(lua, &service.json)).transpose()?)
    }),
];

/// Whether nginx would have a body in memory, and not in a file: one of known length may be longer
/// than the buffer by a quarter.
pub(in crate::lua) fn is_in_memory(lua: &Lua, ex: &Exchange, length: usize) -> mlua::Result<bool> {
    let options = Options::of_vm(lua)?;
    let is_known = ex.request.header(CONTENT_LENGTH).is_some();
    let buffer = options.bodies.buffer;
    let room = if is_known { buffer.saturating_add(buffer / 4) } else { buffer };
    Ok(length <= room || state::of(lua, ex).sets_body.get())
}

/// Reads the body, as far as plugins may have it.
pub(in crate::lua) async fn read_body(
    lua: &Lua,
    ex: &Exchange,
) -> mlua::Result<Result<Bytes, ReadError>> {
    let limit = Options::of_vm(lua)?.bodies.limit;
    Ok(ex.request.body(limit).await)
}

const NOT_IN_BUFFER: &str = "request body did not fit into client body buffer, consider raising \
                             'client_body_buffer_size'";

/// The body for a caller that says up to which size it would read a file: 0 is any, nil is none.
async fn given_body(
    lua: &Lua,
    ex: &Exchange,
    file_limit: Option<Value>,
) -> Result<Result<Bytes, String>, Fault> {
    let body = match read_body(lua, ex).await? {
        Ok(body) => body,
        Err(ReadError::TooLarge { .. }) => return Ok(Err(NOT_IN_BUFFER.to_owned())),
        Err(error) => return Ok(Err(error.to_string())),
    };
    if is_in_memory(lua, ex, body.len())? {
        return Ok(Ok(body));
    }
    let file_limit = match file_limit {
        None | Some(Value::Nil | Value::Boolean(false)) => None,
        Some(Value::Integer(limit)) => usize::try_from(limit).ok(),
        Some(Value::Number(limit)) => (limit >= 0.0).then_some(limit as usize),
        Some(other) => {
            let kind = value::kind(&other);
            return Err(format!("attempt to compare {kind} with number").into());
        }
    };
    Ok(match file_limit {
        None => Err(NOT_IN_BUFFER.to_owned()),
        Some(limit) if limit > 0 && body.len() > limit => {
            Err(format!("request body file too big: {} > {limit}", body.len()))
        }
        Some(_) => Ok(body),
    })
}

fn version(version: Version) -> f64 {
    match version {
        Version::HTTP_10 => 1.0,
        Version::HTTP_2 => 2.0,
        Version::HTTP_3 => 3.0,
        _ => 1.1,
    }
}

/// What the path's expression captured. A group that is a number is in the list, and so is the
/// whole match, as 0.
fn get_uri_captures(lua: &Lua, ex: &Exchange, _: MultiValue) -> Answer {
    let (named, unnamed) = (lua.create_table()?, lua.create_table()?);
    for (group, text) in ex.matched().map(|matched| &*matched.captures).unwrap_or_default() {
        match group.parse::<i64>() {
            Ok(number) => unnamed.raw_set(number, text.as_str())?,
            Err(_) => named.raw_set(group.as_str(), text.as_str())?,
        }
    }
    unnamed.set_metatable(Some(lua.array_metatable()))?;
    let captures = lua.create_table()?;
    captures.raw_set("named", named)?;
    captures.raw_set("unnamed", unnamed)?;
    one(lua, captures)
}

fn get_query_arg(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let name = value::text(&mut args, "query argument name must be a string")?;
    let query = var::query(ex).unwrap_or_default();
    let mut values = encode::decoded_args(lua, query.as_bytes(), 100)?;
    let Some(Value::Table(table)) = values.pop_front() else { return one(lua, ()) };
    match table.raw_get::<Value>(name)? {
        Value::Table(list) => one(lua, list.raw_get::<Value>(1)?),
        value => one(lua, value),
    }
}

fn get_query(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let limit = value::limit(&mut args, "max_args")?;
    encode::decoded_args(lua, var::query(ex).unwrap_or_default().as_bytes(), limit)
}

fn get_header(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let name = value::text(&mut args, "header name must be a string")?;
    let headers = ex.request.headers();
    if name.as_bytes().eq_ignore_ascii_case(b"cookie") {
        // HTTP/2 clients send them one by one; they are one header all the same.
        let all: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
        let joined = (!all.is_empty()).then(|| lua.create_string(all.join(&b"; "[..])));
        return one(lua, joined.transpose()?);
    }
    match value::sent_header(&headers, &name.as_bytes()) {
        Some(found) => one(lua, lua.create_string(found.as_bytes())?),
        None => one(lua, Value::Nil),
    }
}

async fn get_raw_body(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    match given_body(lua, ex, args.pop_front()).await? {
        Ok(body) => one(lua, lua.create_string(&body)?),
        Err(told) => one(lua, (Value::Nil, told)),
    }
}

/// The body by its type: a form, of parts or not, or JSON. The third value is the type without
/// parameters.
async fn get_body(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let asked = args.pop_front().and_then(|mime| Some(mime.as_string()?.to_string_lossy()));
    let sent = ex.request.with_header(http::header::CONTENT_TYPE, |v| v.map(str::to_owned));
    let Some(mime) = asked.or(sent) else {
        return one(lua, (Value::Nil, "missing content type"));
    };
    let (arguments, file_limit) = (args.pop_front(), args.pop_front());
    let kind = mime.split(';').next().unwrap_or_default().to_ascii_lowercase();
    if !super::body::is_readable(&kind) {
        return one(lua, (Value::Nil, format!("unsupported content type '{mime}'"), kind));
    }
    match given_body(lua, ex, file_limit).await? {
        Ok(body) => super::body::decoded(lua, &body, Some(mime), arguments),
        Err(told) => one(lua, (Value::Nil, told, kind)),
    }
}
