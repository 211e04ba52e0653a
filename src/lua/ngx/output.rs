//! `ngx.status`, `ngx.header`, `ngx.say` and their likes: a plugin that answers the way OpenResty's
//! own code does.
//!
//! What is printed is kept until the plugin leaves with `ngx.exit`, or ends; then it is the answer.
//! Unlike `kong.response.exit`, `ngx.exit` keeps the plugins behind it from running at all.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};
use mlua::{Lua, MultiValue, Table, Value};

use super::{number, one};
use crate::lua::bind::{self, Answer, Ending, Fault};
use crate::lua::kong::value;
use crate::lua::state;
use crate::pdk::{Exchange, Phase};
use crate::respond;

/// The most bytes a plugin may print.
const PRINT_LIMIT: usize = 64 << 20;

pub(super) fn install(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    ngx.set("say", bind::function(lua, |lua, args| print(lua, args, true))?)?;
    ngx.set("print", bind::function(lua, |lua, args| print(lua, args, false))?)?;
    for name in ["flush", "send_headers", "eof"] {
        ngx.set(name, bind::function(lua, |lua, _| one(lua, 1))?)?;
    }
    let leave = lua.create_function(|lua, args| bind::settle(lua, exit(lua, args)))?;
    ngx.set("exit", bind::bind(lua, leave, Ending::Leave)?)?;
    let leave = lua.create_function(|lua, args| bind::settle(lua, redirect(lua, args)))?;
    ngx.set("redirect", bind::bind(lua, leave, Ending::Leave)?)?;
    ngx.set("header", header(lua)?)
}

fn exchange() -> Result<std::rc::Rc<Exchange>, Fault> {
    state::current().ok_or_else(|| "no request found".into())
}

/// The text of one argument: `nil` and booleans as words, tables as their parts.
fn append(value: &Value, text: &mut Vec<u8>) -> Result<(), Fault> {
    match value {
        Value::Table(parts) => {
            for part in parts.clone().sequence_values::<Value>() {
                append(&part?, text)?;
            }
        }
        Value::String(part) => text.extend_from_slice(&part.as_bytes()),
        Value::Nil => text.extend_from_slice(b"nil"),
        Value::LightUserData(data) if data.0.is_null() => text.extend_from_slice(b"null"),
        Value::Boolean(_) | Value::Integer(_) | Value::Number(_) => {
            text.extend_from_slice(value.to_string()?.as_bytes());
        }
        other => {
            let kind = other.type_name();
            let told = "string, number, boolean, nil, ngx.null, or array table expected";
            return Err(format!("bad argument #1 to 'print' ({told}, but got {kind})").into());
        }
    }
    Ok(())
}

/// The parts of a table, nested ones too, as one text.
pub(in crate::lua) fn joined(parts: &Table) -> mlua::Result<Bytes> {
    let mut text = Vec::new();
    match append(&Value::Table(parts.clone()), &mut text) {
        Ok(()) => Ok(text.into()),
        Err(Fault::Caller(told)) => Err(mlua::Error::runtime(told)),
        Err(Fault::Lua(error)) => Err(error),
    }
}

fn print(lua: &Lua, args: MultiValue, newline: bool) -> Answer {
    let ex = exchange()?;
    if !matches!(ex.phase(), Phase::Rewrite | Phase::Access | Phase::Response) {
        let name = if newline { "say" } else { "print" };
        let phase = ex.phase().name();
        return Err(format!("API disabled in the context of {phase}_by_lua* ({name})").into());
    }
    let state = state::of(lua, &ex)?;
    let mut text = Vec::new();
    for value in &args {
        append(value, &mut text)?;
    }
    if newline {
        text.push(b'\n');
    }
    let mut printed = state.printed.borrow_mut();
    let printed = printed.get_or_insert_default();
    if printed.len() + text.len() > PRINT_LIMIT {
        return one(lua, (Value::Nil, "nginx output filter error"));
    }
    printed.extend_from_slice(&text);
    one(lua, 1)
}

/// `ngx.exit(status)`. In a filter it ends nothing; a status below 200 ends the phase alone.
fn exit(lua: &Lua, mut args: MultiValue) -> Answer {
    let Some(code) = args.pop_front().as_ref().and_then(number) else {
        return Err("bad argument #1 to 'exit' (number expected)".into());
    };
    let ex = exchange()?;
    if !matches!(ex.phase(), Phase::Rewrite | Phase::Access | Phase::Response) {
        return one(lua, false);
    }
    let state = state::of(lua, &ex)?;
    let code = if code < 0.0 { 500 } else { code as u16 };
    if state.printed.borrow().is_some() {
        answer_printed(&ex, &state);
    } else if code >= 200 {
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        respond::nginx_error(&ex, status);
    }
    ex.response.is_last_word.set(ex.response.exited());
    one(lua, true)
}

/// Makes what was printed the answer, with the status that was set.
pub(in crate::lua) fn answer_printed(ex: &Exchange, state: &state::State) {
    if let Some(printed) = state.printed.borrow_mut().take() {
        let _ = ex.response.exit(ex.response.status(), None, Bytes::from(printed));
        ex.response.is_last_word.set(true);
    }
}

fn redirect(lua: &Lua, mut args: MultiValue) -> Answer {
    let uri = value::text(&mut args, "bad argument #1 to 'redirect' (string expected)")?;
    let code = match args.pop_front() {
        None | Some(Value::Nil) => 302,
        Some(code) => number(&code).unwrap_or_default() as u16,
    };
    if !matches!(code, 301 | 302 | 303 | 307 | 308) {
        return Err("only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, \
                    ngx.HTTP_PERMANENT_REDIRECT, ngx.HTTP_SEE_OTHER, and \
                    ngx.HTTP_TEMPORARY_REDIRECT are allowed"
            .into());
    }
    let ex = exchange()?;
    let location = HeaderValue::from_bytes(&uri.as_bytes())
        .map_err(|_| Fault::from("unsafe byte in redirect uri"))?;
    respond::nginx_error(&ex, StatusCode::from_u16(code).unwrap_or(StatusCode::FOUND));
    ex.response.set_header(LOCATION, location);
    ex.response.is_last_word.set(true);
    one(lua, true)
}

/// `ngx.header`: read, set and cleared by name, in which `_` stands for `-`.
fn header(lua: &Lua) -> mlua::Result<Table> {
    let name = |key: &Value| -> Option<HeaderName> {
        let text = key.as_string()?.to_string_lossy().replace('_', "-");
        HeaderName::from_bytes(text.as_bytes()).ok()
    };
    let get = move |lua: &Lua, mut args: MultiValue| -> Answer {
        args.pop_front();
        let key = args.pop_front().unwrap_or(Value::Nil);
        let (Some(ex), Some(name)) = (state::current(), name(&key)) else { return one(lua, ()) };
        let headers = ex.response.headers();
        let values: Vec<_> = headers.get_all(name).iter().collect();
        match values.as_slice() {
            [] => one(lua, ()),
            [only] => one(lua, lua.create_string(only.as_bytes())?),
            many => {
                let texts = many.iter().map(|value| lua.create_string(value.as_bytes()));
                let texts: Vec<_> = texts.collect::<mlua::Result<_>>()?;
                one(lua, lua.create_sequence_from(texts)?)
            }
        }
    };
    let set = move |lua: &Lua, mut args: MultiValue| -> Answer {
        args.pop_front();
        let key = args.pop_front().unwrap_or(Value::Nil);
        let ex = exchange()?;
        let Some(name) = name(&key) else { return Err("invalid header name".into()) };
        let values = match args.pop_front() {
            None | Some(Value::Nil) => Vec::new(),
            Some(found) => value::header_values(&name, &found)?,
        };
        ex.response.clear_header(&name);
        let first_only = name == CONTENT_TYPE;
        for value in values.into_iter().take(if first_only { 1 } else { usize::MAX }) {
            ex.response.add_header(name.clone(), value);
        }
        one(lua, ())
    };
    let meta = lua.create_table()?;
    meta.set("__index", bind::function(lua, get)?)?;
    meta.set("__newindex", bind::function(lua, set)?)?;
    let header = lua.create_table()?;
    header.set_metatable(Some(meta))?;
    Ok(header)
}

/// `ngx.status = 404`.
pub(super) fn set_status(value: &Value) -> Result<(), Fault> {
    let code = number(value).ok_or_else(|| Fault::from("number expected"))?;
    if let Some(ex) = state::current()
        && let Ok(status) = StatusCode::from_u16(code as u16)
    {
        ex.response.set_status(status);
    }
    Ok(())
}
