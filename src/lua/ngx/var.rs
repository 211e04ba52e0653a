//! `ngx.var`: nginx' variables, as far as plugins read them, and the four that they write.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName};
use mlua::{Lua, MultiValue, Table, Value};

use super::context::exchange;
use super::{encode, one};
use crate::entity::Protocol;
use crate::lua::bind::{self, Answer, Fault};
use crate::lua::kong::value;
use crate::lua::state;
use crate::pdk::{Exchange, Phase};
use crate::router::path;

pub(super) fn install(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    let get = |lua: &Lua, mut args: MultiValue| -> Answer {
        args.pop_front();
        let name = match args.pop_front() {
            Some(Value::String(name)) => name.to_string_lossy(),
            // Captures of nginx' own locations: there are none.
            Some(Value::Integer(_) | Value::Number(_)) => return one(lua, Value::Nil),
            _ => return Err("bad variable name".into()),
        };
        let ex = exchange(lua)?;
        match lookup(lua, &ex, &name.to_ascii_lowercase())? {
            Some(text) => one(lua, lua.create_string(text)?),
            None => one(lua, Value::Nil),
        }
    };
    let set = |lua: &Lua, mut args: MultiValue| -> Answer {
        args.pop_front();
        let name = match args.pop_front() {
            Some(Value::String(name)) => name.to_string_lossy(),
            _ => return Err("bad variable name".into()),
        };
        let ex = exchange(lua)?;
        let value = match args.pop_front() {
            None | Some(Value::Nil) => String::new(),
            Some(Value::String(text)) => text.to_string_lossy(),
            Some(value) => value::shown(&value)?,
        };
        let name = name.to_ascii_lowercase();
        write(&ex, &name, value.clone())?;
        if name == "upstream_uri" {
            let written = Some((ex.service.path(), value));
            *state::of(lua, &ex).notes.upstream_uri.borrow_mut() = written;
        }
        one(lua, Value::Nil)
    };
    let meta = lua.create_table()?;
    meta.set("__index", bind::function(lua, get)?)?;
    meta.set("__newindex", bind::function(lua, set)?)?;
    let var = lua.create_table()?;
    var.set_metatable(Some(meta))?;
    ngx.set("var", var)
}

/// The query as it stands: what a plugin has set, or what the client sent.
pub(in crate::lua) fn query(ex: &Exchange) -> Option<String> {
    if ex.service.has_own_query() {
        return ex.service.query();
    }
    match ex.phase() {
        Phase::Rewrite => ex.request.raw_query().map(str::to_owned),
        _ if ex.matched().is_none() => ex.request.raw_query().map(str::to_owned),
        _ => ex.service.query(),
    }
}

fn header(headers: &HeaderMap, variable: &str) -> Option<Vec<u8>> {
    let name = variable.replace('_', "-");
    let values: Vec<&[u8]> = headers.get_all(&name).iter().map(|value| value.as_bytes()).collect();
    let joint: &[u8] = if name == "cookie" { b"; " } else { b", " };
    (!values.is_empty()).then(|| values.join(joint))
}

/// A variable, with those that only Lua code sets.
fn lookup(lua: &Lua, ex: &Exchange, name: &str) -> mlua::Result<Option<Vec<u8>>> {
    if matches!(name, "uri" | "document_uri")
        && let Some(uri) = &*state::of(lua, ex).notes.uri.borrow()
    {
        return Ok(Some(uri.clone().into_bytes()));
    }
    if name == "upstream_uri"
        && ex.phase() == Phase::Access
        && let Some((path, written)) = &*state::of(lua, ex).notes.upstream_uri.borrow()
        && ex.service.path() == *path
    {
        return Ok(Some(written.clone().into_bytes()));
    }
    Ok(value(ex, name))
}

pub(super) fn value(ex: &Exchange, name: &str) -> Option<Vec<u8>> {
    if let Some(header_name) = name.strip_prefix("http_") {
        return header(&ex.request.headers(), header_name);
    }
    if let Some(header_name) = name.strip_prefix("sent_http_") {
        if header_name == "connection" {
            return Some(ex.connection().as_bytes().to_vec());
        }
        return header(&ex.response.headers(), header_name);
    }
    if let Some(header_name) = name.strip_prefix("upstream_http_") {
        ex.service.status.get()?;
        return match &ex.service.answer() {
            Some(answer) => header(answer, header_name),
            None => header(&ex.response.headers(), header_name),
        };
    }
    let trailer = ["sent_trailer_", "upstream_trailer_"];
    if let Some(field) = trailer.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        return header(ex.service.trailers.borrow().as_ref()?, field);
    }
    if let Some(argument) = name.strip_prefix("arg_") {
        let query = query(ex)?;
        let parts = query.split('&').filter_map(|part| part.split_once('='));
        let mut found = parts.filter(|(key, _)| key.eq_ignore_ascii_case(argument));
        return found.next().map(|(_, value)| value.as_bytes().to_vec());
    }
    if let Some(cookie) = name.strip_prefix("cookie_") {
        let cookies = header(&ex.request.headers(), "cookie")?;
        let cookies = String::from_utf8_lossy(&cookies).into_owned();
        let mut pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
        return pairs.find(|(key, _)| *key == cookie).map(|(_, value)| value.as_bytes().to_vec());
    }
    of_request(ex, name).or_else(|| of_connection(ex, name)).or_else(|| of_upstream(ex, name))
}

fn target(ex: &Exchange) -> String {
    ex.request.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned()
}

fn of_request(ex: &Exchange, name: &str) -> Option<Vec<u8>> {
    let request = &ex.request;
    let version = format!("{:?}", request.version).replace("HTTP/2.0", "HTTP/2.0");
    let text = match name {
        "request_uri" => target(ex),
        "uri" | "document_uri" => path::decoded(request.raw_path()).into_owned(),
        "args" | "query_string" => query(ex)?,
        "is_args" => if query(ex).is_some_and(|query| !query.is_empty()) { "?" } else { "" }.into(),
        "request_method" => ex.method().to_string(),
        "request" => format!("{} {} {version}", request.method, target(ex)),
        "request_id" | "kong_request_id" => ex.id.to_string(),
        "host" => request.host_or_kong().to_string(),
        "scheme" => request.scheme().into(),
        "https" => if request.connection.tls { "on" } else { "" }.into(),
        "server_protocol" => version,
        "http2" => match (request.version == http::Version::HTTP_2, request.connection.tls) {
            (true, true) => "h2".into(),
            (true, false) => "h2c".into(),
            _ => String::new(),
        },
        "content_type" | "content_length" => return header(&request.headers(), name),
        "request_length" => {
            let headers = request.headers();
            let head: usize =
                headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
            let line = request.method.as_str().len() + target(ex).len() + version.len() + 6;
            (head + line + request.body_len().unwrap_or(0) as usize).to_string()
        }
        "request_time" => {
            let ms = ex.times.since_start_ms(None);
            format!("{}.{:03}", ms / 1000, ms % 1000)
        }
        "request_body" => {
            let body = request.whole_body().filter(|_| request.is_body_read())?;
            return (!body.is_empty()).then(|| body.to_vec());
        }
        "request_completion" => if ex.phase() == Phase::Log { "OK" } else { "" }.into(),
        "status" if ex.response.has_status() => ex.response.status().as_u16().to_string(),
        "status" => "000".to_owned(),
        "bytes_sent" | "body_bytes_sent" => ex.response.sent.get().to_string(),
        "msec" => {
            let now = super::now();
            format!("{}.{:03}", now.as_secs(), now.subsec_millis())
        }
        "time_local" => logged_time(),
        "time_iso8601" => encode::humane(SystemTime::now()).replacen(' ', "T", 1) + "+00:00",
        _ => return None,
    };
    Some(text.into_bytes())
}

fn of_connection(ex: &Exchange, name: &str) -> Option<Vec<u8>> {
    let connection = &ex.request.connection;
    let text = match name {
        "remote_addr" => connection.client.ip().to_string(),
        "remote_port" => connection.client.port().to_string(),
        "realip_remote_addr" => connection.peer.ip().to_string(),
        "realip_remote_port" => connection.peer.port().to_string(),
        "binary_remote_addr" => {
            return Some(match connection.client.ip() {
                std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
                std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
            });
        }
        "proxy_add_x_forwarded_for" => {
            let own = connection.peer.ip().to_string();
            match header(&ex.request.headers(), "x_forwarded_for") {
                Some(before) => format!("{}, {own}", String::from_utf8_lossy(&before)),
                None => own,
            }
        }
        "server_addr" => connection.local.to_string(),
        "server_port" => connection.port.to_string(),
        "server_name" => "kong".into(),
        "hostname" => crate::lua::kong::hostname().into(),
        "ssl_server_name" => connection.sni.as_deref()?.to_owned(),
        "ssl_protocol" => connection.session?.version.to_owned(),
        "ssl_cipher" => connection.session?.cipher.to_owned(),
        "ssl_session_reused" => connection.session.map(|_| ".".to_owned())?,
        "ssl_client_verify" => {
            connection.session?;
            connection.shown.as_ref().map_or("NONE", |shown| &shown.verify).to_owned()
        }
        "pid" => std::process::id().to_string(),
        "nginx_version" => "1.27.1".into(),
        "connection" | "connection_requests" => "1".into(),
        "pipe" => ".".into(),
        "connection_time" => {
            let ms = ex.times.since_start_ms(None);
            format!("{}.{:03}", ms / 1000, ms % 1000)
        }
        "document_root" | "realpath_root" => "/usr/local/kong/html".into(),
        "limit_rate" => "0".into(),
        "proxy_protocol_addr" | "proxy_protocol_port" | "ctx_ref" => String::new(),
        _ => return None,
    };
    Some(text.into_bytes())
}

/// What the upstream is told about the way here.
fn of_the_way(ex: &Exchange, name: &str) -> Option<Vec<u8>> {
    let text = match name {
        "upstream_x_forwarded_for" => return of_connection(ex, "proxy_add_x_forwarded_for"),
        "upstream_x_forwarded_proto" => ex.request.forwarded_scheme(),
        "upstream_x_forwarded_host" => ex.request.forwarded_host(),
        "upstream_x_forwarded_port" => ex.request.forwarded_port().to_string(),
        "upstream_x_forwarded_path" => {
            ex.request.forwarded("x-forwarded-path").unwrap_or_else(|| ex.request.raw_path().into())
        }
        "upstream_x_forwarded_prefix" => ex
            .request
            .forwarded("x-forwarded-prefix")
            .or_else(|| ex.matched().and_then(|matched| matched.prefix.clone()))?,
        _ => return None,
    };
    Some(text.into_bytes())
}

fn of_upstream(ex: &Exchange, name: &str) -> Option<Vec<u8>> {
    if let Some(header) = forwarded_name(name)
        && let Some(value) = ex.service.forwarded().get(header)
    {
        return Some(value.as_bytes().to_vec());
    }
    if ex.matched().is_none() {
        // Kong's own variables are there from the start, and empty.
        return WRITABLE.contains(&name).then(Vec::new);
    }
    if name.starts_with("upstream_x_forwarded_") {
        return of_the_way(ex, name);
    }
    let text = match name {
        "upstream_uri" => match ex.phase() {
            Phase::Rewrite | Phase::Access => ex.service.path(),
            _ => ex.service.path_and_query(),
        },
        // Connections are not timed one by one; there is a time for each attempt, as in nginx.
        "upstream_connect_time" => {
            let tries = ex.service.tries.borrow().len();
            (tries > 0).then(|| vec!["0.000"; tries].join(", "))?
        }
        "upstream_scheme" => if ex.service.scheme().is_tls() { "https" } else { "http" }.into(),
        "upstream_host" => match ex.service.host_header() {
            Some(host) => return Some(host.as_bytes().to_vec()),
            None => {
                let (host, port) = (ex.service.host(), ex.service.port());
                if port == ex.service.scheme().default_port() {
                    host.to_string()
                } else {
                    format!("{host}:{port}")
                }
            }
        },
        "kong_proxy_mode" => match ex.service.scheme().is_grpc() {
            true => "grpc".into(),
            false => "http".into(),
        },
        "proxy_host" => "kong_upstream".into(),
        "proxy_port" => "80".into(),
        "upstream_connection" => match wants_websocket(ex) {
            true => "keep-alive, Upgrade".into(),
            false => "keep-alive".into(),
        },
        "upstream_upgrade" => if wants_websocket(ex) { "websocket" } else { "" }.into(),
        "upstream_te" | "upstream_via" => String::new(),
        "upstream_status" => ex.service.status.get()?.as_u16().to_string(),
        "upstream_addr" => ex.service.tries.borrow().last()?.address.to_string(),
        "upstream_response_time" | "upstream_header_time" => {
            let ms = ex.times.upstream_ms()?;
            format!("{}.{:03}", ms / 1000, ms % 1000)
        }
        _ => return None,
    };
    Some(text.into_bytes())
}

fn write(ex: &Exchange, name: &str, value: String) -> Result<(), Fault> {
    match name {
        "upstream_uri" => {
            // Kong's variable may hold the query, too.
            let (path, query) = match value.split_once('?') {
                Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
                None => (value, ex.service.query()),
            };
            ex.service.set_path(path::escape(&path).into_owned());
            ex.service.set_query(query);
        }
        "upstream_host" => {
            ex.service.set_host_header(http::HeaderValue::from_str(&value).ok());
        }
        "upstream_scheme" => ex.service.set_scheme(match value.as_str() {
            "https" => Protocol::Https,
            _ => Protocol::Http,
        }),
        "args" => ex.service.set_query((!value.is_empty()).then_some(value)),
        // Kept as they are; nothing here follows them.
        "ctx_ref"
        | "kong_proxy_mode"
        | "limit_rate"
        | "upstream_connection"
        | "upstream_te"
        | "upstream_upgrade"
        | "upstream_via" => {}
        other => match forwarded_name(other) {
            Some(header) => {
                if let Some(value) = super::header::safe_value(value.as_bytes()) {
                    ex.service.set_forwarded(header, value);
                }
            }
            None => return Err(refusal(ex, other)),
        },
    }
    Ok(())
}

/// Kong's variables that plugins may set.
const WRITABLE: [&str; 15] = [
    "ctx_ref",
    "kong_proxy_mode",
    "upstream_connection",
    "upstream_host",
    "upstream_scheme",
    "upstream_te",
    "upstream_upgrade",
    "upstream_uri",
    "upstream_via",
    "upstream_x_forwarded_for",
    "upstream_x_forwarded_host",
    "upstream_x_forwarded_path",
    "upstream_x_forwarded_port",
    "upstream_x_forwarded_prefix",
    "upstream_x_forwarded_proto",
];

/// The header that one of Kong's variables is sent in.
fn forwarded_name(variable: &str) -> Option<HeaderName> {
    let rest = variable.strip_prefix("upstream_x_forwarded_")?;
    WRITABLE
        .contains(&variable)
        .then(|| HeaderName::try_from(format!("x-forwarded-{rest}")).ok())?
}

/// nginx' words for a variable that is not to be written: its own ones, and those it does not know.
fn refusal(ex: &Exchange, name: &str) -> Fault {
    let by_prefix = ["http_", "sent_http_", "upstream_http_", "arg_", "cookie_"];
    let is_own = !by_prefix.iter().any(|prefix| name.starts_with(prefix))
        && (BUILT_IN.contains(&name) || value(ex, name).is_some());
    if is_own {
        return format!("variable \"{name}\" not changeable").into();
    }
    let hint = "maybe it is a built-in variable that is not changeable or you forgot to use";
    format!(
        "variable \"{name}\" not found for writing; {hint} \"set ${name} '';\" in the config file \
         to define it first"
    )
    .into()
}

/// nginx' variables that may have no value at the moment.
const BUILT_IN: [&str; 14] = [
    "args",
    "content_length",
    "content_type",
    "query_string",
    "remote_user",
    "request_body",
    "request_body_file",
    "ssl_cipher",
    "ssl_protocol",
    "ssl_server_name",
    "upstream_addr",
    "upstream_header_time",
    "upstream_response_time",
    "upstream_status",
];

fn wants_websocket(ex: &Exchange) -> bool {
    let upgrade = ex.request.header(http::header::UPGRADE);
    upgrade.is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The time as access logs have it: `28/Nov/2026:22:13:47 +0000`.
fn logged_time() -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let parts: Vec<&str> = date.split(' ').collect();
    match parts.as_slice() {
        [_, day, month, year, time, _] => format!("{day}/{month}/{year}:{time} +0000"),
        _ => date,
    }
}
