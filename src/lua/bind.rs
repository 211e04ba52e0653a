//! Host functions whose refusals Lua sees as its own errors: texts with the caller's line.
//!
//! An error that crosses from Rust by itself arrives as userdata with a traceback, and plugins that
//! look into the text of an error would fail over it.

use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Table, Value};

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
    /// It says whether the caller ends here: it waits for ever, and its driver drops it.
    Suspend,
}

/// `check` is called last, so the caller of the bound function is its level 2. Where the result is
/// still looked at it is level 3.
const BIND: &str = "
local suspend = ...
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
        suspend()
      end
    end
  end,
}";

/// The registry's name for the two functions.
const BINDERS: &str = "silverback.bind";

/// Prepares the VM for [`bind`].
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let suspend = lua.create_async_function(|_, ()| std::future::pending::<mlua::Result<()>>())?;
    let binders: Table = lua.load(BIND).set_name("=host").call(suspend)?;
    lua.set_named_registry_value(BINDERS, binders)
}

/// A host function whose refusals Lua sees as its own errors.
pub(super) fn function(
    lua: &Lua,
    call: impl Fn(&Lua, MultiValue) -> Answer + 'static,
) -> mlua::Result<Function> {
    let function = lua.create_function(move |lua, args| settle(lua, call(lua, args)))?;
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
        async move { settle(&lua, answer.await) }
    })?;
    bind(lua, function, Ending::Return)
}

/// Binds a function whose first result is what to raise; see [`settle`].
pub(super) fn bind(lua: &Lua, function: Function, ending: Ending) -> mlua::Result<Function> {
    let binders: Table = lua.named_registry_value(BINDERS)?;
    let binder: Function = binders.get(match ending {
        Ending::Return => "give_back",
        Ending::Suspend => "end_here",
    })?;
    binder.call(function)
}

/// An answer as a bound function must return it.
pub(super) fn settle(lua: &Lua, answer: Answer) -> mlua::Result<MultiValue> {
    match answer {
        Ok(mut values) => {
            values.push_front(Value::Nil);
            Ok(values)
        }
        Err(Fault::Caller(message)) => message.into_lua_multi(lua),
        Err(Fault::Lua(error)) => Err(error),
    }
}
