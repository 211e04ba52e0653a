//! `ngx.status`, `ngx.header`, `ngx.say` and their likes: a plugin that answers the way OpenResty's
//! own code does.
//!
//! What is printed is kept until the plugin leaves with `ngx.exit`, or ends; then it is the answer.
//! Unlike `kong.response.exit`, `ngx.exit` keeps the plugins behind it from running at all.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, EXPIRES,
    LAST_MODIFIED, LOCATION, REFRESH, SERVER, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use mlua::{Lua, MultiValue, Table, Value};

use super::context::{self, CONTENT};
use super::{encode, header as names, number, one};
use crate::lua::bind::{self, Answer, Ending, Fault};
use crate::lua::kong::value;
use crate::lua::owner::Owner;
use crate::lua::{phase, state};
use crate::pdk::{Exchange, Phase};
use crate::respond;

/// The most bytes a plugin may print.
const PRINT_LIMIT: usize = 64 << 20;

pub(super) fn install(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    ngx.set("say", bind::function(lua, |lua, args| print(lua, args, true))?)?;
    ngx.set("print", bind::function(lua, |lua, args| print(lua, args, false))?)?;
    ngx.set("flush", bind::function(lua, |lua, _| flush(lua))?)?;
    ngx.set("eof", bind::function(lua, |lua, _| eof(lua))?)?;
    ngx.set("send_headers", bind::function(lua, |lua, _| send_headers(lua))?)?;
    let leave = lua.create_function(|lua, args| bind::settle(lua, exit(lua, args)))?;
    ngx.set("exit", bind::bind(lua, leave, Ending::Leave)?)?;
    let leave = lua.create_function(|lua, args| bind::settle(lua, redirect(lua, args)))?;
    ngx.set("redirect", bind::bind(lua, leave, Ending::Leave)?)?;
    let exec = |lua: &Lua, _| {
        context::within(lua, CONTENT)?;
        Err("ngx.exec is not available: there are no locations".into())
    };
    ngx.set("exec", bind::function(lua, exec)?)?;
    let on_abort = |lua: &Lua, _| {
        context::within(lua, CONTENT)?;
        one(lua, (Value::Nil, "lua_check_client_abort is off"))
    };
    ngx.set("on_abort", bind::function(lua, on_abort)?)?;
    ngx.set("header", header(lua)?)
}

/// Whether the head of the response has gone out, or a plugin has printed, after which it may not
/// change any more.
pub(in crate::lua) fn is_head_out(lua: &Lua, ex: &Exchange) -> mlua::Result<bool> {
    let is_late = matches!(ex.phase(), Phase::BodyFilter | Phase::Log);
    Ok(is_late || state::of(lua, ex).printed.borrow().is_some())
}

/// Why nothing can be printed any more.
fn refusal(lua: &Lua, ex: &Exchange) -> Result<Option<&'static str>, Fault> {
    let state = state::of(lua, ex);
    if state.printed.borrow().is_some() && ex.request.method == Method::HEAD {
        return Ok(Some("header only"));
    }
    Ok(state.notes.has_ended.get().then_some("seen eof"))
}

fn flush(lua: &Lua) -> Answer {
    let ex = context::within(lua, CONTENT)?;
    let nothing = || state::of(lua, &ex).printed.borrow().is_none();
    match refusal(lua, &ex)? {
        Some(told) => one(lua, (Value::Nil, told)),
        None if nothing() => one(lua, (Value::Nil, "nothing to flush")),
        None => one(lua, 1),
    }
}

fn eof(lua: &Lua) -> Answer {
    let ex = context::within(lua, CONTENT)?;
    let state = state::of(lua, &ex);
    if state.notes.has_ended.replace(true) {
        return one(lua, (Value::Nil, "seen eof"));
    }
    state.printed.borrow_mut().get_or_insert_default();
    one(lua, 1)
}

fn send_headers(lua: &Lua) -> Answer {
    let ex = context::within(lua, CONTENT)?;
    state::of(lua, &ex).printed.borrow_mut().get_or_insert_default();
    one(lua, 1)
}

/// The text of one argument: `nil` and booleans as words, tables as their parts. `of` is the place
/// of the argument and the function it is of, `depth` the number of tables around it.
fn append(value: &Value, text: &mut Vec<u8>, of: Argument, depth: usize) -> Result<(), Fault> {
    /// A table may hold itself.
    const DEPTH_MAX: usize = 100;
    match value {
        Value::Table(_) if depth == DEPTH_MAX => {
            return Err(bad(of, "table nested too deep"));
        }
        Value::Table(parts) => {
            for part in items(parts, of)? {
                append(&part, text, of, depth + 1)?;
                if text.len() > PRINT_LIMIT {
                    return Err(bad(of, "too long"));
                }
            }
        }
        Value::String(part) => text.extend_from_slice(&part.as_bytes()),
        Value::Nil => text.extend_from_slice(b"nil"),
        Value::LightUserData(data) if data.0.is_null() => text.extend_from_slice(b"null"),
        Value::Boolean(_) | Value::Integer(_) | Value::Number(_) => {
            text.extend_from_slice(value::shown(value)?.as_bytes());
        }
        other => {
            let kind = value::kind(other);
            let told = "string, number, boolean, nil, ngx.null, or array table expected";
            return Err(bad(of, &format!("{told}, but got {kind}")));
        }
    }
    Ok(())
}

/// The place of an argument and the function it is of.
type Argument = (usize, &'static str);

fn bad((place, name): Argument, told: &str) -> Fault {
    format!("bad argument #{place} to '{name}' ({told})").into()
}

/// The parts of a list, holes as `nil`; any other key is refused.
fn items(list: &Table, of: Argument) -> Result<Vec<Value>, Fault> {
    /// A table that one index makes long is not worth its memory.
    const LONGEST: i64 = 1 << 24;
    let mut last = 0;
    for pair in list.pairs::<Value, Value>() {
        match pair?.0 {
            Value::Integer(index) if (1..=LONGEST).contains(&index) => last = last.max(index),
            _ => return Err(bad(of, "non-array table found")),
        }
    }
    Ok((1..=last).map(|index| list.raw_get(index)).collect::<mlua::Result<_>>()?)
}

/// The parts of a table, nested ones too, as one text.
pub(super) fn joined(parts: &Table, of: Argument) -> Result<Bytes, Fault> {
    let mut text = Vec::new();
    append(&Value::Table(parts.clone()), &mut text, of, 0)?;
    Ok(text.into())
}

fn print(lua: &Lua, args: MultiValue, newline: bool) -> Answer {
    let ex = context::within(lua, CONTENT)?;
    if let Some(told) = refusal(lua, &ex)? {
        return one(lua, (Value::Nil, told));
    }
    let state = state::of(lua, &ex);
    let mut text = Vec::new();
    for (place, value) in args.iter().enumerate() {
        append(value, &mut text, (place + 1, "print"), 0)?;
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

/// `ngx.exit(status)`. A status below 200 ends the phase alone. A header filter goes on behind it,
/// and nginx' page for the last status takes the place of the response (OpenResty).
fn exit(lua: &Lua, mut args: MultiValue) -> Answer {
    /// `ngx.AGAIN` and `ngx.DONE`.
    const NO_END: [f64; 2] = [-2.0, -4.0];
    let given = args.pop_front().unwrap_or(Value::Nil);
    let Some(code) = number(&given) else {
        let kind = value::kind(&given);
        let what = format!("(cannot convert '{kind}' to 'int')");
        return Err(format!("bad argument #2 to 'ngx_http_lua_ffi_exit' {what}").into());
    };
    let Some(ex) = state::current() else {
        // There is nobody to answer: it ends the code of a timer or of a handshake's phase.
        if !matches!(phase::outside(lua), "timer" | "ssl_cert") {
            context::within(lua, &[])?;
        }
        let owner = Owner::current(lua)?;
        owner.iter().for_each(|owner| owner.leave(code));
        return one(lua, owner.is_some());
    };
    let is_filter = ex.phase() == Phase::HeaderFilter;
    if !is_filter {
        context::within(lua, CONTENT)?;
    }
    if NO_END.contains(&code) {
        return Err("bad argument to 'ngx.exit': does not accept NGX_AGAIN or NGX_DONE".into());
    }
    let code = if code < 0.0 { 500 } else { code as u16 };
    if is_filter {
        if code >= 200 {
            leave_with(&ex, code);
        }
        return one(lua, false);
    }
    let state = state::of(lua, &ex);
    if state.printed.borrow().is_some() {
        let sent = ex.response.status().as_u16();
        if code >= 200 && code != sent {
            let told = "via ngx.exit after sending out the response status";
            tracing::error!(target: "lua", "attempt to set status {code} {told} {sent}");
        }
        answer_printed(&ex, &state);
    } else if code >= 200 {
        leave_with(&ex, code);
        ex.response.hangs_up.set(is_silent(code));
    }
    ex.response.is_last_word.set(ex.response.exited());
    one(lua, true)
}

/// Whether nginx closes the connection of a request that ends with this status, and says nothing.
/// In a header filter it is an answer as any other.
pub(in crate::lua) fn is_silent(code: u16) -> bool {
    const TIMED_OUT: u16 = 408;
    const CLOSE: u16 = 444;
    const CLIENT_GONE: u16 = 499;
    matches!(code, TIMED_OUT | CLOSE | CLIENT_GONE)
}

fn leave_with(ex: &Exchange, code: u16) {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    respond::nginx_error(ex, status);
}

/// Makes what was printed the answer, with the status that was set.
pub(in crate::lua) fn answer_printed(ex: &Exchange, state: &state::State) {
    if let Some(printed) = state.printed.borrow_mut().take() {
        let _ = ex.response.exit(ex.response.status(), None, Bytes::from(printed));
        ex.response.is_last_word.set(true);
    }
}

fn redirect(lua: &Lua, mut args: MultiValue) -> Answer {
    encode::counted(&args, 1..=2, "expecting one or two arguments")?;
    let uri = lua.create_string(encode::string(&mut args, 1, "redirect")?)?;
    let code = match args.pop_front() {
        None => 302,
        Some(code) => {
            let told = || encode::wrong(2, "redirect", "number", Some(&code));
            number(&code).ok_or_else(told)? as u16
        }
    };
    if !matches!(code, 301 | 302 | 303 | 307 | 308) {
        return Err("only ngx.HTTP_MOVED_TEMPORARILY, ngx.HTTP_MOVED_PERMANENTLY, \
                    ngx.HTTP_PERMANENT_REDIRECT, ngx.HTTP_SEE_OTHER, and \
                    ngx.HTTP_TEMPORARY_REDIRECT are allowed"
            .into());
    }
    let ex = context::within(lua, CONTENT)?;
    if is_head_out(lua, &ex)? {
        return Err("attempt to call ngx.redirect after sending out the headers".into());
    }
    if let Some(byte) = uri.as_bytes().iter().find(|byte| **byte < b' ' || **byte == 0x7F) {
        let shown = super::req::shown(&uri.to_string_lossy());
        return Err(format!("unsafe byte \"0x{byte:02x}\" in redirect uri \"{shown}\"").into());
    }
    let location = HeaderValue::from_bytes(&uri.as_bytes())
        .map_err(|_| Fault::from("unsafe byte in redirect uri"))?;
    respond::nginx_error(&ex, StatusCode::from_u16(code).unwrap_or(StatusCode::FOUND));
    ex.response.set_header(LOCATION, location);
    ex.response.is_last_word.set(true);
    one(lua, true)
}

/// `ngx.header`: read, set and cleared by name, in which `_` stands for `-`.
fn header(lua: &Lua) -> mlua::Result<Table> {
    let get = move |lua: &Lua, mut args: MultiValue| -> Answer {
        args.pop_front();
        let ex = context::exchange(lua)?;
        let Ok(name) = names::name(&args.pop_front().unwrap_or(Value::Nil), true) else {
            return one(lua, Value::Nil);
        };
        let headers = ex.response.headers();
        let values: Vec<_> = headers.get_all(name).iter().collect();
        match values.as_slice() {
            [] => one(lua, Value::Nil),
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
        let ex = context::exchange(lua)?;
        let name = names::name(&args.pop_front().unwrap_or(Value::Nil), true)?;
        let mut values = names::values(&args.pop_front().unwrap_or(Value::Nil))?;
        names::check(&name, &values)?;
        if is_head_out(lua, &ex)? {
            let told = "attempt to set ngx.header.HEADER after sending out response headers";
            tracing::error!(target: "lua", "{told}");
            return one(lua, Value::Nil);
        }
        if SINGLE.contains(&name) {
            values = values.pop().into_iter().collect();
        }
        ex.response.clear_header(&name);
        for value in values {
            ex.response.add_header(name.clone(), value);
        }
        one(lua, Value::Nil)
    };
    let meta = lua.create_table()?;
    meta.set("__index", bind::function(lua, get)?)?;
    meta.set("__newindex", bind::function(lua, set)?)?;
    let header = lua.create_table()?;
    header.set_metatable(Some(meta))?;
    Ok(header)
}

/// Headers of which there is one: of several values the last counts (nginx).
const SINGLE: [HeaderName; 12] = [
    CONTENT_TYPE,
    CONTENT_LENGTH,
    LOCATION,
    LAST_MODIFIED,
    ETAG,
    DATE,
    SERVER,
    EXPIRES,
    CONTENT_ENCODING,
    ACCEPT_RANGES,
    REFRESH,
    WWW_AUTHENTICATE,
];

/// `ngx.status = 404`.
pub(super) fn set_status(lua: &Lua, value: &Value) -> Result<(), Fault> {
    let code = match value {
        Value::String(text) => text.to_string_lossy().parse::<f64>().ok(),
        value => number(value),
    };
    let told = "bad argument #2 to 'ngx_http_lua_ffi_set_resp_status'";
    let code = code.ok_or_else(|| format!("{told} (cannot convert 'nil' to 'int')"))?;
    let ex = context::exchange(lua)?;
    if is_head_out(lua, &ex)? {
        let told = "attempt to set ngx.status after sending out response headers";
        tracing::error!(target: "lua", "{told}");
    } else if let Ok(status) = StatusCode::from_u16(code as u16) {
        ex.response.set_status(status);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_holds_itself_is_not_printed() {
        let lua = Lua::new();
        let code = "local t = {} t[1] = t return t, {'a', {1, {true}}}";
        let (cycle, list): (Table, Table) = lua.load(code).eval().unwrap();
        let of = (1, "print");
        let Err(Fault::Caller(told)) = joined(&cycle, of) else { panic!("it is printed") };
        assert_eq!(told, "bad argument #1 to 'print' (table nested too deep)");
        assert_eq!(joined(&list, of).ok().unwrap(), "a1true");
    }
}
