//! `kong.*`: thin bindings onto the PDK, one row each.
//!
//! A row is a name, the phases in which Kong allows it, and a function of the current exchange.
//! Errors of a caller are raised as Lua strings with the caller's line, because plugins look into
//! them. A new function is a row in the table of its namespace.

mod body;
mod client;
mod log;
mod multipart;
mod node;
mod request;
mod response;
mod service;
mod target;
pub(super) mod value;
mod vault;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use mlua::{Function, Lua, LuaString, MultiValue, Table, Value};

use super::bind::{self, Answer, Ending, Fault};
use super::{Options, configuration, limit, owner, state};
use crate::pdk::{Exchange, Phase};

pub(super) use self::node::hostname;
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
    /// At once, with a request or without one.
    Anywhere(fn(&Lua, MultiValue) -> Answer),
    /// At once; `true` means that the plugin ends here.
    Exit(fn(&Lua, &Exchange, MultiValue) -> Answer),
}

/// An answer that comes later.
type Waiting = Pin<Box<dyn Future<Output = Answer>>>;

/// A set of phases, by Kong's names.
#[derive(Clone, Copy)]
pub(super) struct Phases(u16);

impl Phases {
    /// In Kong's order. `balancer` and what follows `log` have no plugin code here; they are in the
    /// texts because Kong's texts have them.
    const NAMES: [&'static str; 9] = [
        "rewrite",
        "access",
        "balancer",
        "response",
        "header_filter",
        "body_filter",
        "log",
        "error",
        "admin_api",
    ];
    /// While there is a request.
    const REQUEST: Self = Self(0b1_1111_1111);
    /// Before the upstream's body is on its way.
    const BEFORE_CONTENT: Self = Self(0b1_1000_1011);
    /// Before the upstream is called.
    const REQUEST_CHANGE: Self = Self(0b0_0000_0011);
    /// The same, and while a target is chosen.
    const TARGET_CHANGE: Self = Self(0b0_0000_0111);
    /// While the response's head can be changed.
    const RESPONSE_CHANGE: Self = Self(0b1_1001_1111);
    /// Once there is a response.
    const RESPONSE: Self = Self(0b1_1111_1000);
    /// Once the upstream has answered.
    const SERVICE_RESPONSE: Self = Self(0b0_0111_1000);
    /// `access` alone.
    const ACCESS: Self = Self(0b0_0000_0010);
    /// `body_filter` alone.
    const BODY_FILTER: Self = Self(0b0_0010_0000);
    /// Once there is a Route.
    const ROUTED: Self = Self(0b0_0111_1010);

    fn check(self, phase: Phase) -> Result<(), Fault> {
        let at = Self::NAMES.iter().position(|name| *name == phase.name()).unwrap_or_default();
        if self.0 & (1 << at) != 0 {
            return Ok(());
        }
        let (phase, names) = (phase.name(), self.names());
        Err(format!("function cannot be called in {phase} phase (only in: {names})").into())
    }

    /// The exchange whose turn it is, in a phase of the set.
    fn exchange(self) -> Result<Rc<Exchange>, Fault> {
        let Some(ex) = state::current() else {
            let names = self.names();
            return Err(format!("no phase in ngx.ctx.KONG_PHASE, (need one of {names})").into());
        };
        self.check(ex.phase())?;
        Ok(ex)
    }

    fn names(self) -> String {
        let names = Self::NAMES.iter().enumerate();
        let names: Vec<_> =
            names.filter(|(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| *name).collect();
        names.join(", ")
    }
}

/// Installs the global `kong`.
pub(super) fn install(lua: &Lua, options: &Options) -> mlua::Result<()> {
    value::install(lua)?;
    let kong = lua.create_table()?;
    kong.set("version", KONG_VERSION.0)?;
    kong.set("version_num", KONG_VERSION.1)?;
    kong.set("configuration", configuration::table(lua, options)?)?;
    kong.set("log", log::table(lua)?)?;
    kong.set("ctx", ctx(lua)?)?;
    kong.set("tracing", node::tracing(lua)?)?;

    let tables = [
        body::ROWS,
        client::ROWS,
        log::ROWS,
        node::ROWS,
        request::ROWS,
        response::ROWS,
        service::ROWS,
        target::ROWS,
        vault::ROWS,
    ];
    for row in tables.into_iter().flatten() {
        let ending =
            if matches!(row.call, Call::Exit(_)) { Ending::Suspend } else { Ending::Return };
        let (namespace, name) = namespace(lua, &kong, row.name)?;
        namespace.set(name, bind::bind(lua, row.function(lua)?, ending)?)?;
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
                    bind::settle(lua, phases.exchange().and_then(|ex| call(lua, &ex, args)))
                };
                lua.create_function(move |lua, args| limit::off(lua, || run(lua, args)))
            }
            Call::Wait(call) => lua.create_async_function(move |lua, args| async move {
                let result = match phases.exchange() {
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

/// `kong.ctx.shared` and `kong.ctx.plugin`, kept in the current exchange, also when a plugin puts
/// tables of its own in their place.
fn ctx(lua: &Lua) -> mlua::Result<Table> {
    let state_of = |lua: &Lua| {
        let ex = state::current()
            .ok_or_else(|| mlua::Error::runtime("kong.ctx is not there outside of a request"))?;
        state::of(lua, &ex)
    };
    let index = move |lua: &Lua, (_, key): (Value, LuaString)| {
        limit::off(lua, || {
            let state = state_of(lua)?;
            match &*key.as_bytes() {
                b"shared" => Ok(Some(state.shared.borrow().clone())),
                b"plugin" => state.plugin(lua),
                _ => Ok(None),
            }
        })
    };
    let meta = lua.create_table()?;
    meta.set("__index", lua.create_function(index)?)?;
    let set = move |lua: &Lua, (ctx, key, table): (Table, String, Table)| {
        match key.as_str() {
            "shared" => *state_of(lua)?.shared.borrow_mut() = table,
            "plugin" => state_of(lua)?.set_plugin(table),
            _ => ctx.raw_set(key, table)?,
        }
        Ok(())
    };
    meta.set("__newindex", lua.create_function(set)?)?;
    let ctx = lua.create_table()?;
    ctx.set_metatable(Some(meta))?;
    Ok(ctx)
}
