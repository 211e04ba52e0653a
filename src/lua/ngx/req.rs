//! `ngx.req` and `ngx.resp`: the request as OpenResty's own functions give it.
//!
//! What they change is what the upstream gets, where nginx would send it: Kong takes path and
//! `Host` from variables of its own, so that `set_uri` and a `Host` concern later plugins only.

use http::header::HOST;
use http::{HeaderName, HeaderValue, Method, Version};
use mlua::{Lua, MultiValue, Table, Value};

use super::context::{self, exchange};
use super::{encode, header, number, one, req_body, var};
use crate::lua::bind::{self, Answer};
use crate::lua::kong::value;
use crate::lua::state;
use crate::pdk::{Exchange, Phase};
use crate::proxy::headers::FORWARDED_HOST;
use crate::router::path;

/// A function of the current exchange.
type Call = fn(&Lua, &Exchange, MultiValue) -> Answer;

const CALLS: &[(&str, Call)] = &[
    ("get_headers", |lua, ex, args| headers(lua, &ex.request.headers(), args)),
    ("get_uri_args", get_uri_args),
    ("get_query_args", get_uri_args),
    ("get_method", |lua, ex, _| one(lua, ex.method().as_str())),
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
        let name = header::name(&args.pop_front().unwrap_or(Value::Nil), false)?;
        let values = header::values(&args.pop_front().unwrap_or(Value::Nil))?;
        header::check(&name, &values)?;
        change_header(ex, &name, values);
        one(lua, Value::Nil)
    }),
    ("add_header", |lua, ex, mut args| {
        let (name, values) = added(&mut args)?;
        for value in values {
            ex.request.add_header(name.clone(), value);
        }
        one(lua, Value::Nil)
    }),
    ("clear_header", |lua, ex, mut args| {
        let name = args.pop_front().unwrap_or(Value::Nil);
        let name = header::name(&Value::String(lua.create_string(value::shown(&name)?)?), false)?;
        change_header(ex, &name, Vec::new());
        one(lua, Value::Nil)
    }),
    ("set_uri", set_uri),
    ("set_uri_args", set_uri_args),
];

/// Puts values in place of those of a header. There is one `Host`, the last, and `ngx.var.host`
/// follows it; Kong tells the upstream of the host as it was before `access`.
fn change_header(ex: &Exchange, name: &HeaderName, mut values: Vec<HeaderValue>) {
    let is_host = *name == HOST;
    if is_host {
        values.drain(..values.len().saturating_sub(1));
        let before = HeaderValue::from_str(&ex.request.forwarded_host()).ok();
        if let (Phase::Access, Some(before)) = (ex.phase(), before) {
            ex.service.keep_forwarded(FORWARDED_HOST, before);
        }
    }
    ex.request.clear_header(name);
    for value in values {
        ex.request.add_header(name.clone(), value);
    }
    if is_host {
        ex.request.follow_host();
    }
}

pub(super) fn install(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    let req = lua.create_table()?;
    for (name, call) in CALLS.iter().chain(req_body::CALLS) {
        let run = move |lua: &Lua, args: MultiValue| call(lua, &*exchange(lua)?, args);
        req.set(*name, bind::function(lua, run)?)?;
    }
    req_body::install(lua, &req)?;
    ngx.set("req", req)?;
    let resp = lua.create_table()?;
    resp.set(
        "get_headers",
        bind::function(lua, |lua, args| headers(lua, &exchange(lua)?.response_headers(), args))?,
    )?;
    resp.set(
        "add_header",
        bind::function(lua, |lua, mut args| {
            let ex = exchange(lua)?;
            let (name, values) = added(&mut args)?;
            for value in values {
                ex.response.add_header(name.clone(), value);
            }
            one(lua, Value::Nil)
        })?,
    )?;
    ngx.set("resp", resp)
}

/// What `get_headers(limit, raw)` gives.
fn headers(lua: &Lua, headers: &http::HeaderMap, mut args: MultiValue) -> Answer {
    let limit = limit(&mut args)?;
    let is_raw =
        args.pop_front().is_some_and(|raw| !matches!(raw, Value::Nil | Value::Boolean(false)));
    let read = if is_raw { value::raw_headers } else { value::headers };
    read(lua, headers, limit)
}

/// A header and what is added to it, which has to be something.
fn added(args: &mut MultiValue) -> Result<(http::HeaderName, Vec<HeaderValue>), bind::Fault> {
    let name = header::name(&args.pop_front().unwrap_or(Value::Nil), false)?;
    match args.pop_front() {
        None | Some(Value::Nil) => {
            Err("bad 'value' argument: string or table expected, got nil".into())
        }
        Some(Value::Table(list)) if list.raw_len() == 0 => {
            Err("bad 'value' argument: non-empty table expected".into())
        }
        Some(value) => Ok((name, header::values(&value)?)),
    }
}

fn get_uri_args(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let limit = limit(&mut args)?;
    let mut answer =
        encode::decoded_args(lua, var::query(ex).unwrap_or_default().as_bytes(), limit)?;
    // A table that is to be used again.
    if let (Some(Value::Table(into)), Some(Value::Table(found))) = (args.front(), answer.front()) {
        into.clear()?;
        found.for_each(|name: Value, value: Value| into.raw_set(name, value))?;
        let into = Value::Table(into.clone());
        answer.pop_front();
        answer.push_front(into);
    }
    Ok(answer)
}

/// `ngx.req.set_uri(uri, jump, binary)`: what `ngx.var.uri` is from here on. Only a gRPC upstream
/// is asked for it: Kong has a variable of its own for the others.
fn set_uri(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    encode::counted(&args, 1..=3, "expecting 1, 2 or 3 arguments but seen")?;
    let uri = encode::string(&mut args, 1, "set_uri")?;
    let uri = String::from_utf8_lossy(&uri).into_owned();
    if uri.is_empty() {
        return Err("attempt to use zero-length uri".into());
    }
    let jumps = match args.pop_front() {
        None => false,
        Some(Value::Boolean(jumps)) => jumps,
        other => return Err(encode::wrong(2, "set_uri", "boolean", other.as_ref())),
    };
    let is_binary = matches!(args.pop_front(), Some(Value::Boolean(true)));
    if let Some(byte) = uri.bytes().find(|b| *b < b' ' || *b == 0x7F).filter(|_| !is_binary) {
        let hint = "(maybe you want to set the 'binary' argument?)";
        let shown = shown(&uri);
        return Err(format!("unsafe byte \"0x{byte:02x}\" in uri \"{shown}\" {hint}").into());
    }
    if jumps {
        context::within(lua, &[Phase::Rewrite])?;
    }
    if ex.matched().is_some() && ex.service.scheme().is_grpc() {
        ex.service.set_path(path::escape(&uri).into_owned());
    }
    *state::of(lua, ex).notes.uri.borrow_mut() = Some(uri);
    one(lua, Value::Nil)
}

/// A text as nginx shows it in an error: bytes that are not to be printed as `\x0A`.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' | '\0'..='\x1F' | '\x7F' => out.push_str(&format!("\\x{:02X}", c as u32)),
            _ => out.push(c),
        }
    }
    out
}

fn set_uri_args(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    encode::counted(&args, 1..=1, "expecting 1 argument but seen")?;
    let query = match args.pop_front() {
        Some(Value::Table(table)) => encode::encoded_args(&table)?,
        Some(Value::String(text)) => text.as_bytes().to_vec(),
        Some(value @ (Value::Integer(_) | Value::Number(_))) => value::shown(&value)?.into_bytes(),
        other => {
            let kind = value::kind(&other.unwrap_or(Value::Nil));
            let expected = "string, number, or table expected, but got";
            return Err(format!("bad argument #1 to 'set_uri_args' ({expected} {kind})").into());
        }
    };
    // What a request line cannot hold goes out escaped.
    let mut safe = String::with_capacity(query.len());
    for c in String::from_utf8_lossy(&query).chars() {
        match c {
            '\0'..=' ' | '\x7F' => safe.push_str(&format!("%{:02X}", c as u32)),
            c => safe.push(c),
        }
    }
    ex.service.set_query((!safe.is_empty()).then_some(safe));
    one(lua, Value::Nil)
}

/// How many headers or arguments are wanted: 100 if left out, 0 for all.
pub(super) fn limit(args: &mut MultiValue) -> Result<usize, bind::Fault> {
    let limit = match args.pop_front() {
        None | Some(Value::Nil | Value::Boolean(false)) => return Ok(100),
        Some(Value::Boolean(true)) => 1.0,
        Some(value) => {
            let kind = value::kind(&value);
            let what = format!("(cannot convert '{kind}' to 'int')");
            number(&value).ok_or_else(|| format!("bad argument #2 to 'limit' {what}"))?
        }
    };
    Ok(if limit < 1.0 { usize::MAX } else { limit as usize })
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
        return Err("bad method number".into());
    };
    let method = METHODS.iter().find(|(_, known)| *known == id as i64);
    let method = method.and_then(|(name, _)| Method::from_bytes(name.as_bytes()).ok());
    let Some(method) = method else {
        return Err(format!("unsupported HTTP method: {id}").into());
    };
    ex.service.set_method(method);
    one(lua, Value::Nil)
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
