//! Which of OpenResty's phases code is in that no exchange runs: `init` while modules load,
//! `init_worker`, and `timer`.

use std::cell::Cell;

use mlua::Lua;

/// The phase of code without an exchange.
struct Outside(Cell<&'static str>);

/// Runs something in a phase.
pub(super) fn during<T>(lua: &Lua, phase: &'static str, run: impl FnOnce() -> T) -> T {
    let before = set(lua, phase);
    let result = run();
    set(lua, before);
    result
}

/// The phase of code that no exchange runs.
pub(super) fn outside(lua: &Lua) -> &'static str {
    lua.app_data_ref::<Outside>().map_or("timer", |outside| outside.0.get())
}

fn set(lua: &Lua, phase: &'static str) -> &'static str {
    if let Some(outside) = lua.app_data_ref::<Outside>() {
        return outside.0.replace(phase);
    }
    lua.set_app_data(Outside(Cell::new(phase)));
    "timer"
}
