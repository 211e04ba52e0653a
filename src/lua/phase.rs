//! Which of OpenResty's phases code is in that no exchange runs: `init` while modules load,
//! `init_worker`, `ssl_cert` while a client shakes hands, and `timer`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::{Lua, LuaSerdeExt as _, Table};

use super::bind::Fault;
use super::owner::Owner;
use super::state::Running;
use crate::pdk::Handshake;

tokio::task_local! {
    /// The handshake whose turn it is, and the plugin that looks at it.
    static HANDSHAKE: (Rc<Handshake>, Running);
}

/// The phase of code without an exchange.
struct Outside {
    phase: Cell<&'static str>,
    plugin: RefCell<Option<Running>>,
    /// What it keeps in `ngx.ctx`.
    ctx: RefCell<Option<Table>>,
}

/// Runs something in a phase, for a plugin or for nobody.
pub(super) fn during<T>(
    lua: &Lua,
    phase: &'static str,
    plugin: Option<Running>,
    run: impl FnOnce() -> T,
) -> T {
    let (before, plugin) = set(lua, phase, plugin);
    let result = run();
    set(lua, before, plugin);
    result
}

/// The phase of code that no exchange runs.
pub(super) fn outside(lua: &Lua) -> &'static str {
    if HANDSHAKE.try_with(|_| ()).is_ok() {
        return "ssl_cert";
    }
    lua.app_data_ref::<Outside>().map_or("timer", |outside| outside.phase.get())
}

/// Kong's name of that phase; it has none for a timer.
pub(super) fn of_kong(lua: &Lua) -> Result<Option<&'static str>, Fault> {
    match outside(lua) {
        // Modules are loaded before there is anything that could have a phase.
        "init" => Err("no request found".into()),
        "init_worker" => Ok(Some("init_worker")),
        "ssl_cert" => Ok(Some("certificate")),
        _ => Ok(None),
    }
}

/// The plugin whose code runs without an exchange.
pub(super) fn plugin(lua: &Lua) -> Option<Running> {
    if let Ok(running) = HANDSHAKE.try_with(|(_, running)| running.clone()) {
        return Some(running);
    }
    lua.app_data_ref::<Outside>()?.plugin.borrow().clone()
}

/// `ngx.ctx` of code without an exchange: a timer has one of its own.
pub(super) fn ctx(lua: &Lua) -> mlua::Result<Table> {
    if let Some(owner) = Owner::current(lua)? {
        return owner.ctx(lua);
    }
    if lua.app_data_ref::<Outside>().is_none() {
        set(lua, "timer", None);
    }
    let made = lua.create_table()?;
    let Some(outside) = lua.app_data_ref::<Outside>() else { return Ok(made) };
    Ok(outside.ctx.borrow_mut().get_or_insert(made).clone())
}

/// The name under which `kong.ctx` keeps something; there is `plugin` on handshakes alone.
fn place(key: &str) -> Option<String> {
    match key {
        "shared" => Some(key.to_owned()),
        "plugin" => HANDSHAKE.try_with(|(_, running)| running.id.to_string()).ok(),
        _ => None,
    }
}

/// A table of `kong.ctx` for code without an exchange; there is none while modules load.
pub(super) fn space(lua: &Lua, key: &str) -> mlua::Result<Option<Table>> {
    let Some(place) = place(key).filter(|_| outside(lua) != "init") else { return Ok(None) };
    let spaces = spaces(lua)?;
    if let Some(table) = spaces.raw_get::<Option<Table>>(place.as_str())? {
        return Ok(Some(table));
    }
    let table = lua.create_table()?;
    spaces.raw_set(place, &table)?;
    Ok(Some(table))
}

/// Puts another table in its place.
pub(super) fn set_space(lua: &Lua, key: &str, table: Table) -> mlua::Result<()> {
    match place(key) {
        Some(place) => spaces(lua)?.raw_set(place, table),
        None => Ok(()),
    }
}

/// What is behind `kong.ctx`. All of `init_worker` has one, under a key that is no text.
fn spaces(lua: &Lua) -> mlua::Result<Table> {
    if let Some(owner) = Owner::current(lua)? {
        return owner.spaces(lua);
    }
    let ctx = ctx(lua)?;
    let key = lua.null();
    if let Some(spaces) = ctx.raw_get::<Option<Table>>(&key)? {
        return Ok(spaces);
    }
    let spaces = lua.create_table()?;
    ctx.raw_set(key, &spaces)?;
    Ok(spaces)
}

/// The handshake whose turn it is.
pub(super) fn handshake() -> Option<Rc<Handshake>> {
    HANDSHAKE.try_with(|(handshake, _)| handshake.clone()).ok()
}

/// Runs a plugin's code on a handshake.
pub(super) async fn shaking<T>(
    handshake: Rc<Handshake>,
    plugin: Running,
    work: impl Future<Output = T>,
) -> T {
    HANDSHAKE.scope((handshake, plugin), work).await
}

fn set(lua: &Lua, phase: &'static str, plugin: Option<Running>) -> (&'static str, Option<Running>) {
    if let Some(outside) = lua.app_data_ref::<Outside>() {
        return (outside.phase.replace(phase), outside.plugin.replace(plugin));
    }
    lua.set_app_data(Outside {
        phase: Cell::new(phase),
        plugin: RefCell::new(plugin),
        ctx: RefCell::default(),
    });
    ("timer", None)
}
