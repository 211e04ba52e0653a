//! `kong.request`: what the client sent.

use http::header::COOKIE;
use http::{HeaderValue, Version};
use mlua::{Lua, LuaSerdeExt, MultiValue, Value};

use super::value::{self, one};
use super::{Call, Phases, Row};
use crate::lua::bind::Answer;
use crate::lua::json;
use crate::lua::ngx::{encode, var};
use crate::pdk::{Exchange, ReadError};
use crate::router::path;

pub(super) const ROWS: &[Row] = &[
    Row::now("request.get_scheme", Phases::REQUEST, |lua, ex, _| one(lua, ex.request.scheme())),
    Row::now("request.get_host", Phases::REQUEST, |lua, ex, _| one(lua, ex.request.host.as_str())),
    Row::now("request.get_port", Phases::REQUEST, |lua, ex, _| {
        one(lua, ex.request.connection.port)
    }),
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
    Row::now("request.get_method", Phases::REQUEST, |lua, ex, _| {
        one(lua, ex.request.method.as_str())
    }),
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

/// Bodies longer than this are not given to Lua, as those that nginx keeps in a file are not.
pub(in crate::lua) const BODY_LIMIT: usize = 8 << 20;

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
    match value::header(&headers, &name) {
        Some(found) => one(lua, lua.create_string(found.as_bytes())?),
        None => one(lua, Value::Nil),
    }
}

async fn get_raw_body(lua: &Lua, ex: &Exchange, _: MultiValue) -> Answer {
    match ex.request.body(BODY_LIMIT).await {
        Ok(body) => one(lua, lua.create_string(&body)?),
        Err(error) => one(lua, (Value::Nil, unreadable(&error))),
    }
}

fn unreadable(error: &ReadError) -> String {
    match error {
        ReadError::TooLarge { .. } => "request body did not fit into client body buffer, \
                                       consider raising 'client_body_buffer_size'"
            .to_owned(),
        error => error.to_string(),
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
    let body = match ex.request.body(BODY_LIMIT).await {
        Ok(body) => body,
        Err(error) => {
            let kind = mime.split(';').next().unwrap_or_default().to_ascii_lowercase();
            return one(lua, (Value::Nil, unreadable(&error), kind));
        }
    };
    super::body::decoded(lua, &body, Some(mime), args.pop_front())
}
