//! Host functions whose refusals Lua sees as its own errors: texts with the caller's line.
//!
//! An error that crosses from Rust by itself arrives as userdata with a traceback, and plugins that
//! look into the text of an error would fail over it.

use mlua::{Function, IntoLua, Lua, MultiValue, Table, Value};

use super::state::{self, Verdict};
use super::{limit, owner};
use crate::pdk::Phase;

/// Why a host function failed.
pub(super) enum Fault {
    /// The caller did something wrong: raised as a text, at the caller's line.
    Caller(String),
    /// Lua itself failed.
    Lua(mlua::Error),
}

impl From<&str> for Fault {
    fn from(message: &str) -> Self {
        Self::Caller(message.to_owned())
    }
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self::Caller(message)
    }
}

impl From<mlua::Error> for Fault {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

/// The values a host function returns to Lua, or why it does not.
pub(super) type Answer = Result<MultiValue, Fault>;

/// What to do with the result of a host function.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    /// Return it.
    Return,
    /// It says whether the plugin ends here: it waits for ever, and its driver drops it. A
    /// coroutine
    /// that the plugin has made yields instead (Kong).
    Suspend,
    /// It says whether the request ends here, wherever in the plugin the caller is (`ngx.exit`).
    Leave,
}

/// `check` is called last, so the caller of the bound function is its level 2. Where the result is
/// still looked at it is level 3.
const BIND: &str = "
local suspend, leave = ...
local function check(err, ...)
  if err then
    error(err, 2)
  end
  return ...
end
local function ends(err, result)
  if err then
    error(err, 3)
  end
  return result
end
return {
  give_back = function(f)
    return function(...)
      return check(f(...))
    end
  end,
  end_here = function(f)
    return function(...)
      if ends(f(...)) then
        leave(suspend)
      end
    end
  end,
  end_all = function(f)
    return function(...)
      if ends(f(...)) then
        suspend()
      end
    end
  end,
}";

/// The registry's name for the two functions.
const BINDERS: &str = "silverback.bind";

/// The registry's name for light threads by their coroutine.
pub(super) const LIGHT: &str = "silverback.light";

/// Prepares the VM for [`bind`], and its coroutines for host calls that wait.
///
/// The function that it gives is to be called when every other host call is made.
pub(super) fn install(lua: &Lua) -> mlua::Result<Function> {
    let outside = lua.create_async_function(|lua, is_light: bool| async move {
        match state::current() {
            // Kong resumes a plugin once in `access`: one that yields has come to its end.
            Some(ex) if !is_light && ex.phase() == Phase::Access => {
                state::of(&lua, &ex).end(Verdict::Ended);
                std::future::pending::<()>().await;
            }
            _ => tokio::task::yield_now().await,
        }
        Ok(())
    })?;
    let relay = lua.load(include_str!("relay.lua")).set_name("=relay.lua");
    let (light, leave, cover): (Table, Function, Function) =
        relay.call((Lua::poll_pending(), outside, fail(lua)?))?;
    lua.set_named_registry_value(LIGHT, light)?;
    let suspend = lua.create_async_function(|lua, ()| async move {
        if let Some(ex) = state::current() {
            state::of(&lua, &ex).end(Verdict::Exited);
        }
        std::future::pending::<mlua::Result<()>>().await
    })?;
    let binders: Table = lua.load(BIND).set_name("=host").call((suspend, leave))?;
    lua.set_named_registry_value(BINDERS, binders)?;
    Ok(cover)
}

/// Ends the plugin with an error that it cannot catch; where nothing may wait it returns.
fn fail(lua: &Lua) -> mlua::Result<Function> {
    let wait = lua.create_async_function(|lua, error: Value| async move {
        if let Some(ex) = state::current() {
            let told = error.to_string()?;
            state::of(&lua, &ex).end(Verdict::Failed(told));
        }
        std::future::pending::<mlua::Result<()>>().await
    })?;
    let may_wait = lua.create_function(|_, ()| {
        let phase = state::current().map(|ex| ex.phase());
        Ok(matches!(phase, Some(Phase::Rewrite | Phase::Access | Phase::Response)))
    })?;
    let fail = "local may_wait, wait = ... return function(e) if may_wait() then wait(e) end end";
    lua.load(fail).set_name("=host").call((may_wait, wait))
}

/// A host function whose refusals Lua sees as its own errors.
pub(super) fn function(
    lua: &Lua,
    call: impl Fn(&Lua, MultiValue) -> Answer + 'static,
) -> mlua::Result<Function> {
    let run = move |lua: &Lua, args| limit::off(lua, || settle(lua, call(lua, args)));
    let function = lua.create_function(run)?;
    bind(lua, function, Ending::Return)
}

/// A host function that waits; its refusals are Lua's own errors.
pub(super) fn waiting<F, W>(lua: &Lua, call: F) -> mlua::Result<Function>
where
    F: Fn(Lua, MultiValue) -> W + 'static,
    W: std::future::Future<Output = Answer> + 'static,
{
    let function = lua.create_async_function(move |lua, args| {
        let answer = call(lua.clone(), args);
        async move {
            let answer = owner::held(answer).await;
            limit::off(&lua, || settle(&lua, answer))
        }
    })?;
    bind(lua, function, Ending::Return)
}

/// Binds a function whose first result is what to raise; see [`settle`].
pub(super) fn bind(lua: &Lua, function: Function, ending: Ending) -> mlua::Result<Function> {
    let binders: Table = lua.named_registry_value(BINDERS)?;
    let binder: Function = binders.get(match ending {
        Ending::Return => "give_back",
        Ending::Suspend => "end_here",
        Ending::Leave => "end_all",
    })?;
    binder.call(function)
}

/// An answer as a bound function must return it: what to raise, or nil and the values.
pub(super) fn settle(lua: &Lua, answer: Answer) -> mlua::Result<(Value, MultiValue)> {
    match answer {
        Ok(values) => Ok((Value::Nil, values)),
        Err(Fault::Caller(message)) => Ok((message.into_lua(lua)?, MultiValue::new())),
        Err(Fault::Lua(error)) => Err(error),
    }
}
