//! `ngx.req` and `ngx.resp`: the request as OpenResty's own functions give it.
//!
//! What they change is what the upstream gets, as with `kong.service.request`.

use std::rc::Rc;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use mlua::{Lua, MultiValue, Table, Value};

use super::{encode, number, one, var};
use crate::lua::bind::{self, Answer, Fault};
use crate::lua::kong::{is_in_memory, read_body, value};
use crate::lua::state;
use crate::pdk::Exchange;
use crate::router::path;

/// A function of the current exchange.
type Call = fn(&Lua, &Exchange, MultiValue) -> Answer;

const CALLS: &[(&str, Call)] = &[
    ("get_headers", |lua, ex, mut args| {
        let limit = limit(&mut args);
        headers(lua, &ex.request.headers(), limit, args.pop_front())
    }),
    ("get_uri_args", |lua, ex, mut args| {
        let limit = limit(&mut args);
        encode::decoded_args(lua, var::query(ex).unwrap_or_default().as_bytes(), limit)
    }),
    ("get_query_args", |lua, ex, mut args| {
        let limit = limit(&mut args);
        encode::decoded_args(lua, var::query(ex).unwrap_or_default().as_bytes(), limit)
    }),
    ("get_post_args", |lua, ex, mut args| {
        let limit = limit(&mut args);
        match ex.request.whole_body() {
            Some(body) => encode::decoded_args(lua, &body, limit),
            None => one(
                lua,
                (
                    Value::Nil,
                    "no request body found; maybe you should turn on \
                                           lua_need_request_body?",
                ),
            ),
        }
    }),
    ("get_method", |lua, ex, _| {
        let method = ex.service.method().unwrap_or_else(|| ex.request.method.clone());
        one(lua, method.as_str())
    }),
    ("set_method", set_method),
    ("http_version", |lua, ex, _| {
        one(
            lua,
            match ex.request.version {
                Version::HTTP_09 => 0.9,
                Version::HTTP_10 => 1.0,
                Version::HTTP_2 => 2.0,
                Version::HTTP_3 => 3.0,
                _ => 1.1,
            },
        )
    }),
    ("raw_header", raw_header),
    ("start_time", |lua, ex, _| one(lua, ex.times.started_at_ms.get() as f64 / 1000.0)),
    ("is_internal", |lua, _, _| one(lua, false)),
    ("set_header", |lua, ex, mut args| {
        let name = value::header_name(&mut args, "bad 'name' argument: string expected")?;
        let values = match args.pop_front() {
            None | Some(Value::Nil) => Vec::new(),
            Some(found) => value::header_values(&name, &found)?,
        };
        put(ex, &name, values);
        one(lua, ())
    }),
    ("add_header", |lua, ex, mut args| {
        let name = value::header_name(&mut args, "bad 'name' argument: string expected")?;
        let found = args.pop_front().unwrap_or(Value::Nil);
        for value in value::header_values(&name, &found)? {
            ex.request.add_header(name.clone(), value);
        }
        one(lua, ())
    }),
    ("clear_header", |lua, ex, mut args| {
        let name = value::header_name(&mut args, "bad 'name' argument: string expected")?;
        ex.request.clear_header(name);
        one(lua, ())
    }),
    ("set_uri", |lua, ex, mut args| {
        let uri = value::utf8(&mut args, "bad argument #1 to 'set_uri' (string expected)")?;
        if uri.is_empty() {
            return Err("attempt to use zero-length uri".into());
        }
        ex.service.set_path(path::escape(&uri).into_owned());
        one(lua, ())
    }),
    ("set_uri_args", |lua, ex, mut args| {
        let query = match args.pop_front() {
            Some(Value::Table(table)) => encode::encoded_args(&table)?,
            Some(Value::String(text)) => text.as_bytes().to_vec(),
            Some(value @ (Value::Integer(_) | Value::Number(_))) => value.to_string()?.into_bytes(),
            _ => {
                return Err("bad argument #1 to 'set_uri_args' (string, number, or table \
                             expected)"
                    .into());
            }
        };
        let query = String::from_utf8_lossy(&query).into_owned();
        ex.service.set_query((!query.is_empty()).then_some(query));
        one(lua, ())
    }),
    ("get_body_data", |lua, ex, _| {
        let body = ex.request.whole_body().filter(|body| !body.is_empty());
        match body {
            Some(body) if is_in_memory(lua, ex, body.len())? => one(lua, lua.create_string(&body)?),
            _ => one(lua, ()),
        }
    }),
    ("get_body_file", |lua, ex, _| {
        let body = ex.request.whole_body().filter(|body| !body.is_empty());
        match body {
            Some(body) if !is_in_memory(lua, ex, body.len())? => {
                one(lua, state::of(lua, ex)?.body_file(&body))
            }
            _ => one(lua, ()),
        }
    }),
    ("set_body_data", |lua, ex, mut args| {
        let body = encode::text(&mut args, "set_body_data")?;
        ex.request.set_body(Bytes::from(body));
        state::of(lua, ex)?.sets_body.set(true);
        one(lua, ())
    }),
];

pub(super) fn install(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    let req = lua.create_table()?;
    for (name, call) in CALLS {
        let run = move |lua: &Lua, args: MultiValue| call(lua, &*exchange()?, args);
        req.set(*name, bind::function(lua, run)?)?;
    }
    for name in ["read_body", "discard_body"] {
        let read = |lua: Lua, _: MultiValue| async move {
            // One that is too long or broken stays unread; `get_body_data` then finds none.
            let _ = read_body(&lua, &*exchange()?).await?;
            one(&lua, ())
        };
        req.set(name, bind::waiting(lua, read)?)?;
    }
    let socket = |lua: Lua, args: MultiValue| async move {
        let ex = exchange()?;
        if matches!(args.front(), Some(Value::Boolean(true))) {
            return one(&lua, (Value::Nil, "raw request sockets are not available"));
        }
        // As in nginx, the upstream gets the body all the same: it is read here and kept.
        match read_body(&lua, &ex).await? {
            Ok(body) if body.is_empty() => one(&lua, (Value::Nil, "no body")),
            Ok(body) => super::socket::of_body(&lua, &body),
            Err(_) => one(&lua, (Value::Nil, "the request body cannot be read")),
        }
    };
    req.set("socket", bind::waiting(lua, socket)?)?;
    ngx.set("req", req)?;
    let resp = lua.create_table()?;
    resp.set(
        "get_headers",
        bind::function(lua, |lua, mut args| {
            let ex = exchange()?;
            let limit = limit(&mut args);
            headers(lua, &ex.response.headers(), limit, args.pop_front())
        })?,
    )?;
    resp.set(
        "add_header",
        bind::function(lua, |lua, mut args| {
            let ex = exchange()?;
            let name = value::header_name(&mut args, "bad 'name' argument: string expected")?;
            let found = args.pop_front().unwrap_or(Value::Nil);
            for value in value::header_values(&name, &found)? {
                ex.response.add_header(name.clone(), value);
            }
            one(lua, ())
        })?,
    )?;
    ngx.set("resp", resp)
}

fn exchange() -> Result<Rc<Exchange>, Fault> {
    state::current().ok_or_else(|| "no request found".into())
}

/// What `get_headers(limit, raw)` gives.
fn headers(lua: &Lua, headers: &HeaderMap, limit: usize, raw: Option<Value>) -> Answer {
    let is_raw = raw.is_some_and(|raw| !matches!(raw, Value::Nil | Value::Boolean(false)));
    let read = if is_raw { value::raw_headers } else { value::headers };
    read(lua, headers, limit)
}

/// How many headers or arguments are wanted: 100 if left out, 0 for all.
fn limit(args: &mut MultiValue) -> usize {
    match args.pop_front().as_ref().and_then(number) {
        None => 100,
        Some(limit) if limit < 1.0 => usize::MAX,
        Some(limit) => limit as usize,
    }
}

/// `ngx.HTTP_*` of the methods, as bits.
pub(super) const METHODS: [(&str, i64); 15] = [
    ("GET", 2),
    ("HEAD", 4),
    ("POST", 8),
    ("PUT", 16),
    ("DELETE", 32),
    ("MKCOL", 64),
    ("COPY", 128),
    ("MOVE", 256),
    ("OPTIONS", 512),
    ("PROPFIND", 1024),
    ("PROPPATCH", 2048),
    ("LOCK", 4096),
    ("UNLOCK", 8192),
    ("PATCH", 16384),
    ("TRACE", 32768),
];

fn set_method(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let Some(id) = args.pop_front().as_ref().and_then(number) else {
        return Err("bad argument #1 to 'set_method' (number expected)".into());
    };
    let method = METHODS.iter().find(|(_, known)| *known == id as i64);
    let method = method.and_then(|(name, _)| Method::from_bytes(name.as_bytes()).ok());
    let Some(method) = method else {
        return Err(format!("unsupported HTTP method: {id}").into());
    };
    ex.service.set_method(method);
    one(lua, ())
}

fn raw_header(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let without_line = matches!(args.pop_front(), Some(Value::Boolean(true)));
    let mut head = Vec::new();
    if !without_line {
        let target = ex.request.uri.path_and_query().map_or("/", |target| target.as_str());
        let line = format!("{} {target} {:?}\r\n", ex.request.method, ex.request.version);
        head.extend_from_slice(line.as_bytes());
    }
    for (name, value) in ex.request.headers().iter() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    one(lua, lua.create_string(head)?)
}

/// `Host` goes to the call: it is the upstream's, not the client's.
fn put(ex: &Exchange, name: &HeaderName, values: Vec<HeaderValue>) {
    if name == HOST {
        return ex.service.set_host_header(values.into_iter().next());
    }
    ex.request.clear_header(name);
    for value in values {
        ex.request.add_header(name.clone(), value);
    }
}
