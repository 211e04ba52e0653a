//! `kong.service`: what the upstream gets and said.

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mlua::{Lua, MultiValue, Value};
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

use super::value::{self, one};
use super::{Phases, Row};
use crate::entity::Protocol;
use crate::guard::Named;
use crate::lua::bind::Answer;
use crate::lua::state;
use crate::pdk::{Exchange, Source};

pub(super) const ROWS: &[Row] = &[
    Row::now("service.set_target", Phases::TARGET, set_target),
    Row::now("service.set_tls_verify", Phases::TARGET, |lua, ex, mut args| {
        let Some(Value::Boolean(verify)) = args.pop_front() else {
            return Err("argument must be a boolean".into());
        };
        ex.service.change_tls(|tls| tls.verify = Some(verify));
        one(lua, true)
    }),
    Row::now("service.set_tls_verify_depth", Phases::TARGET, |lua, ex, mut args| {
        let depth = match args.pop_front() {
            Some(Value::Integer(depth)) => depth,
            Some(Value::Number(depth)) => depth as i64,
            _ => return Err("argument must be a number".into()),
        };
        let Ok(depth) = u32::try_from(depth) else {
            return Err(format!("depth expects a non-negative number but found {depth}").into());
        };
        ex.service.change_tls(|tls| tls.depth = Some(depth));
        one(lua, true)
    }),
    Row::now("service.request.set_scheme", Phases::TARGET_CHANGE, |lua, ex, mut args| {
        let scheme = value::utf8(&mut args, "scheme must be a string")?;
        ex.service.set_scheme(match scheme.as_str() {
            "http" => Protocol::Http,
            "https" => Protocol::Https,
            other => return Err(format!("invalid scheme: {other}").into()),
        });
        one(lua, ())
    }),
    Row::now("service.request.set_path", Phases::TARGET_CHANGE, |lua, ex, mut args| {
        let path = value::text(&mut args, "path must be a string")?;
        if !path.as_bytes().starts_with(b"/") {
            return Err("path must start with /".into());
        }
        ex.service.set_path(percent_encode(&path.as_bytes(), UNSAFE).to_string());
        one(lua, ())
    }),
    Row::now("service.request.set_raw_query", Phases::REQUEST_CHANGE, |lua, ex, mut args| {
        let query = value::text(&mut args, "query must be a string")?;
        let query = percent_encode(&query.as_bytes(), UNSAFE_QUERY).to_string();
        ex.service.set_query((!query.is_empty()).then_some(query));
        one(lua, ())
    }),
    Row::now("service.request.set_method", Phases::REQUEST_CHANGE, |lua, ex, mut args| {
        let method = value::utf8(&mut args, "method must be a string")?;
        let known =
            METHODS.contains(&method.as_str()).then(|| Method::from_bytes(method.as_bytes()));
        let Some(Ok(known)) = known else { return Err(format!("invalid method: {method}").into()) };
        ex.service.set_method(known);
        one(lua, ())
    }),
    Row::now("service.request.set_header", Phases::TARGET_CHANGE, |lua, ex, mut args| {
        if is_authority(args.front()) {
            return set_authority(lua, ex, args);
        }
        let (name, values) = value::header_and_values(&mut args)?;
        put(ex, &name, values);
        one(lua, ())
    }),
    Row::now("service.request.add_header", Phases::REQUEST_CHANGE, |lua, ex, mut args| {
        let (name, values) = value::header_and_values(&mut args)?;
        if name == HOST {
            put(ex, &name, values);
        } else {
            values.into_iter().for_each(|value| ex.request.add_header(name.clone(), value));
        }
        one(lua, ())
    }),
    Row::now("service.request.clear_header", Phases::REQUEST_CHANGE, |lua, ex, mut args| {
        if let Some(name) = value::header_name(&mut args, "header must be a string")? {
            ex.request.clear_header(name);
        }
        one(lua, ())
    }),
    Row::now("service.request.set_headers", Phases::REQUEST_CHANGE, |lua, ex, mut args| {
        let table = value::table(&mut args, "headers must be a table")?;
        for (name, values) in value::headers_of(&table)? {
            put(ex, &name, values);
        }
        one(lua, ())
    }),
    Row::now("service.request.set_raw_body", Phases::TARGET_CHANGE, |lua, ex, mut args| {
        let body = value::text(&mut args, "body must be a string")?;
        ex.request.set_body(bytes::Bytes::copy_from_slice(&body.as_bytes()));
        state::of(lua, ex).sets_body.set(true);
        one(lua, ())
    }),
    Row::now("service.response.get_status", Phases::SERVICE_RESPONSE, |lua, ex, _| {
        one(lua, ex.service.status.get().map(|status| status.as_u16()))
    }),
    Row::now("service.response.get_header", Phases::SERVICE_RESPONSE, |lua, ex, mut args| {
        let name = value::text(&mut args, "name must be a string")?;
        let is_whole = ex.service.buffered_headers.borrow().is_some();
        let found = upstream_headers(ex, |headers| {
            let found = value::header_within(headers, &name.as_bytes());
            let found = found.filter(|_| is_whole || is_upstreams(ex, &name));
            found.map(|found| lua.create_string(found.as_bytes()))
        });
        one(lua, found.flatten().transpose()?)
    }),
    Row::now("service.response.get_headers", Phases::SERVICE_RESPONSE, |lua, ex, mut args| {
        let limit = value::limit(&mut args, "max_headers")?;
        let Some(found) = upstream_headers(ex, |headers| value::headers(lua, headers, limit))
        else {
            return one(lua, lua.create_table()?);
        };
        let found = found?;
        if let Some(mlua::Value::Table(table)) = found.front()
            && ex.service.buffered_headers.borrow().is_none()
        {
            value::hide_added(lua, table)?;
        }
        Ok(found)
    }),
];

/// Whether Kong finds a header of the upstream under this name: a name in lower case is not asked
/// further, and finds what a plugin has set, too.
fn is_upstreams(ex: &Exchange, name: &mlua::LuaString) -> bool {
    let name = name.to_string_lossy();
    let is_exact = !name.contains(|c: char| c.is_ascii_uppercase() || c == '_');
    let has_it = |own: HeaderMap| own.contains_key(name.replace('_', "-"));
    is_exact || ex.service.answer().is_none_or(has_it)
}

/// The methods that nginx can send.
const METHODS: [&str; 15] = [
    "GET",
    "HEAD",
    "PUT",
    "POST",
    "DELETE",
    "OPTIONS",
    "MKCOL",
    "COPY",
    "MOVE",
    "PROPFIND",
    "PROPPATCH",
    "LOCK",
    "UNLOCK",
    "PATCH",
    "TRACE",
];

/// What a path must not hold on a request line. Escapes that are there stay, and so does `?`: the
/// query of the request follows what a plugin writes behind it (Kong).
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What a query must not hold on a request line.
const UNSAFE_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

fn set_target(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let host = value::utf8(&mut args, "host must be a string")?;
    let port = match args.pop_front() {
        Some(Value::Integer(port)) => port,
        Some(Value::Number(port)) if port.fract() == 0.0 => port as i64,
        _ => return Err("port must be an integer".into()),
    };
    let Ok(port) = u16::try_from(port) else {
        return Err(format!("port must be an integer between 0 and 65535: given {port}").into());
    };
    // Kong sets one variable, which is both `Host` and the name for TLS; the port stays out of it.
    ex.service.set_host_header(HeaderValue::from_str(&host).ok());
    ex.service.set_target(host.into(), port, Named::Plugin);
    one(lua, ())
}

fn is_authority(name: Option<&Value>) -> bool {
    let name = name.and_then(Value::as_string);
    name.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b":authority"))
}

/// The name of HTTP/2 for the host, which Kong takes for gRPC alone.
fn set_authority(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    if !ex.service.scheme().is_grpc() {
        let told = "cannot set :authority pseudo-header on non-grpc requests";
        return one(lua, (Value::Nil, told));
    }
    args.pop_front();
    let host = value::text(&mut args, "invalid header value for \":authority\"")?;
    ex.service.set_host_header(HeaderValue::from_bytes(&host.as_bytes()).ok());
    one(lua, ())
}

/// `Host` goes to the call: it is the upstream's, not the client's.
fn put(ex: &Exchange, name: &HeaderName, values: Vec<HeaderValue>) {
    if name == HOST {
        return ex.service.set_host_header(values.into_iter().next());
    }
    let mut values = values.into_iter();
    match values.next() {
        Some(first) => ex.request.set_header(name, first),
        None => ex.request.clear_header(name),
    }
    values.for_each(|value| ex.request.add_header(name, value));
}

/// The upstream's headers. Those of a reply that was read whole stay what they were; others are
/// what filters have made of them (Kong).
fn upstream_headers<T>(ex: &Exchange, look: impl FnOnce(&HeaderMap) -> T) -> Option<T> {
    if !from_upstream(ex) {
        return None;
    }
    let kept = ex.service.buffered_headers.borrow();
    Some(match &*kept {
        Some(headers) => look(headers),
        None => look(&ex.response.headers()),
    })
}

fn from_upstream(ex: &Exchange) -> bool {
    ex.response.source() == Source::Service
}
