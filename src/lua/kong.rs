//! `kong.*`: thin bindings onto the PDK, one row each.
//!
//! A row is a name, the phases in which Kong allows it, and a function of the current exchange.
//! Errors of a caller are raised as Lua strings with the caller's line, because plugins look into
//! them. A new function is a row in the table of its namespace.

mod body;
mod client;
mod groups;
mod log;
mod multipart;
mod node;
mod phases;
mod quick;
mod request;
mod response;
mod service;
pub(super) mod target;
mod tls;
pub(super) mod value;
mod vault;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table};

use super::bind::{self, Answer, Ending};
use super::{Options, configuration, limit, owner, phase, state};
use crate::pdk::request::Connection;
use crate::pdk::{Exchange, Handshake};

pub(super) use self::node::hostname;
use self::phases::Phases;
pub(super) use self::request::{is_in_memory, read_body};
pub(super) use self::target::Retries;

/// The Kong whose plugins and configuration run here unchanged.
const KONG_VERSION: (&str, i64) = ("3.10.0", 3_010_000);

/// One function of the PDK.
pub(super) struct Row {
    /// Below `kong.`, such as `request.get_header`.
    name: &'static str,
    phases: Phases,
    call: Call,
}

/// What a row runs.
enum Call {
    /// At once.
    Now(fn(&Lua, &Exchange, MultiValue) -> Answer),
    /// It may wait; only in phases that may.
    Wait(fn(Lua, Rc<Exchange>, MultiValue) -> Waiting),
    /// At once, for whatever a request or a handshake has come in over.
    Connected(fn(&Lua, &Connection) -> Answer),
    /// At once, on a handshake.
    Handshake(fn(&Lua, &Handshake, MultiValue) -> Answer),
    /// At once, with a request or without one.
    Anywhere(fn(&Lua, MultiValue) -> Answer),
    /// At once; `true` means that the plugin ends here.
    Exit(fn(&Lua, &Exchange, MultiValue) -> Answer),
}

/// An answer that comes later.
type Waiting = Pin<Box<dyn Future<Output = Answer>>>;

/// Installs the global `kong`.
pub(super) fn install(lua: &Lua, options: &Options) -> mlua::Result<()> {
    value::install(lua)?;
    let (kong, ways) = (lua.create_table()?, quick::Ways::new(lua)?);
    kong.set("version", KONG_VERSION.0)?;
    kong.set("version_num", KONG_VERSION.1)?;
    kong.set("configuration", configuration::table(lua, options)?)?;
    kong.set("log", log::table(lua)?)?;
    kong.set("ctx", ctx(lua)?)?;

    let tables = [
        body::ROWS,
        client::ROWS,
        groups::ROWS,
        log::ROWS,
        node::ROWS,
        request::ROWS,
        response::ROWS,
        service::ROWS,
        target::ROWS,
        tls::ROWS,
        vault::ROWS,
    ];
    for row in tables.into_iter().flatten() {
        let ending =
            if matches!(row.call, Call::Exit(_)) { Ending::Suspend } else { Ending::Return };
        let (namespace, name) = namespace(lua, &kong, row.name)?;
        let function = bind::bind(lua, row.function(lua)?, ending)?;
        namespace.set(name, ways.ahead_of(lua, (row.name, row.phases), function)?)?;
    }
    lua.globals().set("kong", kong)
}

impl Row {
    const fn now(
        name: &'static str,
        phases: Phases,
        call: fn(&Lua, &Exchange, MultiValue) -> Answer,
    ) -> Self {
        Self { name, phases, call: Call::Now(call) }
    }

    const fn connected(name: &'static str, call: fn(&Lua, &Connection) -> Answer) -> Self {
        Self { name, phases: Phases::NOT_INIT_WORKER, call: Call::Connected(call) }
    }

    const fn anywhere(name: &'static str, call: fn(&Lua, MultiValue) -> Answer) -> Self {
        Self { name, phases: Phases::REQUEST, call: Call::Anywhere(call) }
    }

    fn function(&self, lua: &Lua) -> mlua::Result<Function> {
        let phases = self.phases;
        match self.call {
            Call::Anywhere(call) => {
                let run = move |lua: &Lua, args| bind::settle(lua, call(lua, args));
                lua.create_function(move |lua, args| limit::off(lua, || run(lua, args)))
            }
            Call::Now(call) | Call::Exit(call) => {
                let run = move |lua: &Lua, args| {
                    bind::settle(lua, phases.exchange(lua).and_then(|ex| call(lua, &ex, args)))
                };
                lua.create_function(move |lua, args| limit::off(lua, || run(lua, args)))
            }
            Call::Connected(call) => lua.create_function(move |lua, _: MultiValue| {
                let run = || match (phases.check(lua)?, state::current(), phase::handshake()) {
                    ((), Some(ex), _) => call(lua, &ex.request.connection),
                    ((), None, Some(handshake)) => call(lua, &handshake.connection),
                    _ => Err("no request found".into()),
                };
                limit::off(lua, || bind::settle(lua, run()))
            }),
            Call::Handshake(call) => lua.create_function(move |lua, args| {
                let handshake = phases.check(lua).and_then(|()| tls::handshake());
                bind::settle(lua, handshake.and_then(|handshake| call(lua, &handshake, args)))
            }),
            Call::Wait(call) => lua.create_async_function(move |lua, args| async move {
                let result = match phases.exchange(&lua) {
                    Ok(ex) => owner::held(call(lua.clone(), ex, args)).await,
                    Err(fault) => Err(fault),
                };
                bind::settle(&lua, result)
            }),
        }
    }
}

/// The table of a dotted name's namespace, and the name in it.
fn namespace<'a>(lua: &Lua, kong: &Table, path: &'a str) -> mlua::Result<(Table, &'a str)> {
    let mut table = kong.clone();
    let mut rest = path;
    while let Some((head, tail)) = rest.split_once('.') {
        let inner: Option<Table> = table.raw_get(head)?;
        table = match inner {
            Some(inner) => inner,
            None => {
                let inner = lua.create_table()?;
                table.raw_set(head, &inner)?;
                inner
            }
        };
        rest = tail;
    }
    Ok((table, rest))
}

/// `kong.ctx.shared` and `kong.ctx.plugin`, kept in the current exchange, handshake or timer, also
/// when a plugin puts tables of its own in their place.
fn ctx(lua: &Lua) -> mlua::Result<Table> {
    let shared = |lua: &Lua, ()| match state::current() {
        Some(ex) => Ok(Some(state::of(lua, &ex).shared(lua)?)),
        None => limit::off(lua, || phase::space(lua, "shared")),
    };
    let plugin = |lua: &Lua, ()| match state::current() {
        Some(ex) => state::of(lua, &ex).plugin(lua),
        None => limit::off(lua, || phase::space(lua, "plugin")),
    };
    let (shared, plugin) = (lua.create_function(shared)?, lua.create_function(plugin)?);
    // Names stay in Lua, where they cost nothing.
    let index = "local shared, plugin = ...
        return function(_, name)
          if name == 'plugin' then return plugin() end
          if name == 'shared' then return shared() end
        end";
    let index: Function = lua.load(index).set_name("=host").call((shared, plugin))?;
    let meta = lua.create_table()?;
    meta.set("__index", index)?;
    let set = move |lua: &Lua, (ctx, key, table): (Table, String, Table)| {
        let Some(ex) = state::current() else { return phase::set_space(lua, &key, table) };
        let state = state::of(lua, &ex);
        match key.as_str() {
            "shared" => state.set_shared(table),
            "plugin" => state.set_plugin(table),
            _ => ctx.raw_set(key, table)?,
        }
        Ok(())
    };
    meta.set("__newindex", lua.create_function(set)?)?;
    let ctx = lua.create_table()?;
    ctx.set_metatable(Some(meta))?;
    Ok(ctx)
}
