//! Where a function of OpenResty may be called, and what it says elsewhere.

use std::rc::Rc;

use mlua::Lua;

use crate::lua::bind::Fault;
use crate::lua::{phase, state};
use crate::pdk::{Exchange, Phase};

/// Phases that may wait and answer.
pub(super) const CONTENT: &[Phase] = &[Phase::Rewrite, Phase::Access, Phase::Response];

/// The exchange of the code that runs.
pub(super) fn exchange(lua: &Lua) -> Result<Rc<Exchange>, Fault> {
    state::current().ok_or_else(|| match phase::outside(lua) {
        "timer" => "API disabled in the current context".into(),
        _ => "no request found".into(),
    })
}

/// Refuses light threads in the phases of an exchange that cannot wait for them.
pub(super) fn within_thread() -> Result<(), Fault> {
    match state::current() {
        Some(ex) if !CONTENT.contains(&ex.phase()) => {
            Err(format!("API disabled in the context of {}_by_lua*", ex.phase().name()).into())
        }
        _ => Ok(()),
    }
}

/// The exchange, for a function of these phases alone.
pub(super) fn within(lua: &Lua, phases: &[Phase]) -> Result<Rc<Exchange>, Fault> {
    let place = match state::current() {
        Some(ex) if phases.contains(&ex.phase()) => return Ok(ex),
        Some(ex) => format!("{}_by_lua*", ex.phase().name()),
        None => match phase::outside(lua) {
            "timer" => "ngx.timer".to_owned(),
            other => format!("{other}_by_lua*"),
        },
    };
    Err(format!("API disabled in the context of {place}").into())
}
