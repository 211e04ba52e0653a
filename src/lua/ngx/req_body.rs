//! The body of a request by `ngx.req`: read, taken as arguments, replaced whole or in parts.

use std::io::Read as _;

use bytes::Bytes;
use mlua::{Lua, MultiValue, Value};

use super::context::{self, CONTENT};
use super::{encode, number, one};
use crate::lua::bind::{self, Answer, Fault};
use crate::lua::kong::{is_in_memory, read_body};
use crate::lua::{Options, state};
use crate::pdk::Exchange;

type Call = fn(&Lua, &Exchange, MultiValue) -> Answer;

pub(super) const CALLS: &[(&str, Call)] = &[
    ("get_post_args", get_post_args),
    ("get_body_data", |lua, ex, _| match read(ex) {
        Some(body) if is_in_memory(lua, ex, body.len())? => one(lua, lua.create_string(&body)?),
        _ => one(lua, Value::Nil),
    }),
    ("get_body_file", |lua, ex, _| match read(ex) {
        Some(body) if !is_in_memory(lua, ex, body.len())? => {
            one(lua, state::of(lua, ex).body_file(&body))
        }
        _ => one(lua, Value::Nil),
    }),
    ("set_body_data", |lua, ex, mut args| {
        encode::counted(&args, 1..=1, "expecting 1 arguments but seen")?;
        let body = encode::string(&mut args, 1, "set_body_data")?;
        must_be_read(ex)?;
        replace(lua, ex, body)
    }),
    ("set_body_file", set_body_file),
    ("init_body", |lua, ex, mut args| {
        must_be_read(ex)?;
        if let Some(size) = args.pop_front() {
            let told = || encode::wrong(1, "init_body", "number", Some(&size));
            let size = number(&size).ok_or_else(told)?;
            if size < 0.0 {
                return Err(format!("bad size argument: {size}").into());
            }
        }
        *state::of(lua, ex).notes.draft.borrow_mut() = Some(Vec::new());
        one(lua, Value::Nil)
    }),
    ("append_body", |lua, ex, mut args| {
        let part = encode::string(&mut args, 1, "append_body")?;
        let limit = Options::of_vm(lua)?.bodies.limit;
        let state = state::of(lua, ex);
        let mut draft = state.notes.draft.borrow_mut();
        let draft = draft.as_mut().ok_or_else(|| Fault::from("request_body not initialized"))?;
        if draft.len() + part.len() > limit {
            return Err("no memory".into());
        }
        draft.extend(part);
        one(lua, Value::Nil)
    }),
    ("finish_body", |lua, ex, _| {
        let draft = state::of(lua, ex).notes.draft.borrow_mut().take();
        let body = draft.ok_or_else(|| Fault::from("request_body not initialized"))?;
        replace(lua, ex, body)
    }),
];

pub(super) fn install(lua: &Lua, req: &mlua::Table) -> mlua::Result<()> {
    for name in ["read_body", "discard_body"] {
        let read = |lua: Lua, _: MultiValue| async move {
            let ex = context::within(&lua, CONTENT)?;
            // One that is too long or broken stays unread; `get_body_data` then finds none.
            let _ = read_body(&lua, &ex).await?;
            one(&lua, Value::Nil)
        };
        req.set(name, bind::waiting(lua, read)?)?;
    }
    let socket = |lua: Lua, args: MultiValue| async move {
        let ex = context::within(&lua, CONTENT)?;
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
    req.set("socket", bind::waiting(lua, socket)?)
}

/// The body, if somebody has read it and there is one.
fn read(ex: &Exchange) -> Option<Bytes> {
    let body = ex.request.whole_body().filter(|_| ex.request.is_body_read())?;
    (!body.is_empty()).then_some(body)
}

fn must_be_read(ex: &Exchange) -> Result<(), Fault> {
    match ex.request.is_body_read() {
        true => Ok(()),
        false => Err("request body not read yet".into()),
    }
}

fn replace(lua: &Lua, ex: &Exchange, body: Vec<u8>) -> Answer {
    ex.request.set_body(Bytes::from(body));
    state::of(lua, ex).sets_body.set(true);
    one(lua, Value::Nil)
}

fn get_post_args(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let limit = super::req::limit(&mut args)?;
    if !ex.request.is_body_read() {
        return Err("no request body found; maybe you should turn on lua_need_request_body?".into());
    }
    let body = read(ex).unwrap_or_default();
    if !is_in_memory(lua, ex, body.len())? {
        return one(lua, (Value::Nil, "request body in temp file not supported"));
    }
    encode::decoded_args(lua, &body, limit)
}

/// `ngx.req.set_body_file(path, removes_it)`: the file is read at once.
fn set_body_file(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    encode::counted(&args, 1..=2, "expecting 1 or 2 arguments but seen")?;
    let path = encode::string(&mut args, 1, "set_body_file")?;
    must_be_read(ex)?;
    let path = String::from_utf8_lossy(&path).into_owned();
    let failed = |call: &str| Fault::from(format!("{call} \"{path}\" failed"));
    let limit = Options::of_vm(lua)?.bodies.limit;
    // To open a pipe would be to wait for its other end.
    if !std::fs::metadata(&path).is_ok_and(|found| found.is_file()) {
        return Err(failed("stat()"));
    }
    let file = std::fs::File::open(&path).map_err(|_| failed("open()"))?;
    let mut body = Vec::new();
    // It may grow while it is read.
    let read = file.take(limit as u64 + 1).read_to_end(&mut body);
    if read.map_err(|_| failed("read()"))? > limit {
        return Err("no memory".into());
    }
    if matches!(args.pop_front(), Some(Value::Boolean(true))) {
        let _ = std::fs::remove_file(&path);
    }
    replace(lua, ex, body)
}
