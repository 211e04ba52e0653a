//! Lua functions and patterns of a schema, as closures the engine can call.
//!
//! A function that raises an error refuses its value with the error's text: a broken validator is
//! a fault of the schema, and the loader must say so and go on.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value as LuaValue, WeakLua};
use serde_json::Value;

use crate::lua::{json, limit};
use crate::schema::{Error, Mapping, Pattern, Predicate, Refusal, Step};

/// The VM of a schema's functions, which do not keep it alive.
#[derive(Clone)]
pub(super) enum Home {
    /// The schema may outlive its reader.
    Kept(Lua),
    /// The schema lives in the VM itself.
    Own(WeakLua),
}

impl Home {
    fn lua(&self) -> Option<Lua> {
        match self {
            Self::Kept(lua) => Some(lua.clone()),
            Self::Own(lua) => lua.try_upgrade(),
        }
    }
}

/// A Lua pattern; malformed ones are refused here, once.
pub(super) fn pattern(home: &Home, lua: &Lua, pattern: &str) -> Result<Pattern, String> {
    let said = |error: mlua::Error| format!("{pattern}: {}", first_line(&error.to_string()));
    let string: Table = lua.globals().get("string").map_err(said)?;
    let find: Function = string.get("find").map_err(said)?;
    let text = lua.create_string(pattern).map_err(said)?;
    find.call::<Option<i64>>(("", &text)).map_err(said)?;
    let home = home.clone();
    Ok(Rc::new(move |value| {
        let Some(lua) = home.lua() else { return false };
        let found = limit::on(&lua, || find.call::<Option<i64>>((value, &text)));
        found.is_ok_and(|at| at.is_some())
    }))
}

/// `custom_validator`, `check` and the like: true, or nil (false) and what is wrong.
pub(super) fn predicate(home: &Home, function: Function) -> Predicate {
    let home = home.clone();
    Rc::new(move |value| {
        let Some(lua) = home.lua() else { return Ok(()) };
        let call = |value| limit::on(&lua, || function.call::<MultiValue>(value));
        let said = json::to_lua(&lua, value).and_then(call);
        let mut said = said.map_err(|error| Refusal::Text(first_line(&error.to_string())))?;
        match said.pop_front() {
            Some(LuaValue::Nil | LuaValue::Boolean(false)) | None => {}
            Some(_) => return Ok(()),
        }
        Err(match said.pop_front() {
            None | Some(LuaValue::Nil) => Refusal::Unsaid,
            Some(table @ LuaValue::Table(_)) => match json::from_lua(&lua, table) {
                Ok(tree) => Refusal::Fields(flattened(tree)),
                Err(error) => Refusal::Text(first_line(&error.to_string())),
            },
            Some(text) => Refusal::Text(text.to_string().unwrap_or_default()),
        })
    })
}

/// A function from a value to a value.
pub(super) fn mapping(home: &Home, function: Function) -> Mapping {
    let home = home.clone();
    Rc::new(move |value| {
        let lua = home.lua().ok_or("the schema is gone")?;
        json::to_lua(&lua, value)
            .and_then(|value| limit::on(&lua, || function.call::<LuaValue>(value)))
            .and_then(|result| json::from_lua(&lua, result))
            .map_err(|error| first_line(&error.to_string()))
    })
}

/// Kong's tree of errors as a list. What is under `@entity` is about the record itself.
fn flattened(tree: Value) -> Vec<Error> {
    let error = |message| vec![Error { path: Vec::new(), message, of_record: false }];
    let under = |step: Option<Step>, tree: Value| {
        flattened(tree).into_iter().map(move |mut error| {
            error.path.splice(0..0, step.clone());
            error
        })
    };
    match tree {
        Value::String(message) => error(message),
        Value::Array(items) => items
            .into_iter()
            .enumerate()
            .flat_map(|(i, item)| under(Some(Step::Index(i)), item))
            .collect(),
        Value::Object(fields) => fields
            .into_iter()
            .flat_map(|(name, tree)| match (name.as_str(), tree) {
                ("@entity", Value::Array(messages)) => {
                    let errors = messages.into_iter().flat_map(flattened);
                    errors.map(|error| Error { of_record: true, ..error }).collect::<Vec<_>>()
                }
                (_, tree) => under(Some(Step::Field(name)), tree).collect(),
            })
            .collect(),
        Value::Null => Vec::new(),
        other => error(other.to_string()),
    }
}

/// Lua's message without the traceback.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_start_matches("runtime error: ").to_owned()
}
