//! What `kong.db.schema` stands on: the engine, for Lua code that has schemas of its own.

use std::rc::Rc;

use mlua::{AnyUserData, Lua, MultiValue, Table, UserData, Value as LuaValue};
use serde_json::{Map, Value};

use super::read::Reader;
use crate::lua::bind::{self, Answer, Fault};
use crate::lua::json;
use crate::lua::kong::value::{one, table};
use crate::schema::{Error, Record, Step};

/// A schema that has been read.
struct Compiled(Rc<Record>);

impl UserData for Compiled {}

/// Installs the module `silverback.schema`.
pub(in crate::lua) fn install(lua: &Lua) -> mlua::Result<()> {
    let api = lua.create_table()?;
    api.set("compile", bind::function(lua, compile)?)?;
    api.set("fill", bind::function(lua, fill)?)?;
    api.set("judge", bind::function(lua, judge)?)?;
    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    preload.set("silverback.schema", lua.create_function(move |_, _: String| Ok(api.clone()))?)
}

/// Reads a definition; nil and why it cannot be one.
fn compile(lua: &Lua, mut args: MultiValue) -> Answer {
    let definition = table(&mut args, "expected a definition table")?;
    let is_entity = args.pop_front().is_some_and(|flag| flag.as_boolean() == Some(true));
    match Reader::of(lua).plain(&definition, is_entity) {
        Ok(record) => one(lua, lua.create_userdata(Compiled(Rc::new(record)))?),
        Err(told) => one(lua, (LuaValue::Nil, told)),
    }
}

fn record(args: &mut MultiValue) -> Result<Rc<Record>, Fault> {
    let compiled: Option<AnyUserData> = match args.pop_front() {
        Some(LuaValue::UserData(data)) => Some(data),
        _ => None,
    };
    let compiled = compiled.ok_or("schema expected")?;
    let record = compiled.borrow::<Compiled>()?.0.clone();
    Ok(record)
}

fn data(lua: &Lua, args: &mut MultiValue) -> Result<Map<String, Value>, Fault> {
    let input = table(args, "expected an input table")?;
    match json::from_lua(lua, LuaValue::Table(input))? {
        Value::Object(data) => Ok(data),
        // An empty list is an empty record.
        Value::Array(list) => {
            Ok(list.into_iter().enumerate().map(|(i, one)| ((i + 1).to_string(), one)).collect())
        }
        _ => Ok(Map::new()),
    }
}

/// The record with its gaps filled, or nil and what is wrong.
fn fill(lua: &Lua, mut args: MultiValue) -> Answer {
    let record = record(&mut args)?;
    let (filled, errors) = record.filled(data(lua, &mut args)?);
    if !errors.is_empty() {
        return one(lua, (LuaValue::Nil, tree(lua, errors)?));
    }
    one(lua, json::to_lua(lua, &Value::Object(filled))?)
}

/// True, or nil and what is wrong.
fn judge(lua: &Lua, mut args: MultiValue) -> Answer {
    let record = record(&mut args)?;
    let data = data(lua, &mut args)?;
    let is_whole = args.pop_front().is_none_or(|flag| flag.as_boolean() != Some(false));
    let errors = record.judge(data, is_whole);
    if errors.is_empty() {
        return one(lua, true);
    }
    one(lua, (LuaValue::Nil, tree(lua, errors)?))
}

/// Kong's tree: fields by name, elements from 1, what is about a record under `@entity`. The keys
/// of maps are not in it.
fn tree(lua: &Lua, errors: Vec<Error>) -> mlua::Result<Table> {
    let root = lua.create_table()?;
    for Error { mut path, message, of_record } in errors {
        path.retain(|step| !matches!(step, Step::Key(_)));
        let last = if of_record { None } else { path.pop() };
        let mut at = root.clone();
        for step in &path {
            let inner: LuaValue = at.raw_get(key(lua, step)?)?;
            at = match inner {
                LuaValue::Table(inner) => inner,
                _ => {
                    let inner = lua.create_table()?;
                    at.raw_set(key(lua, step)?, &inner)?;
                    inner
                }
            };
        }
        match last {
            Some(step) => at.raw_set(key(lua, &step)?, message)?,
            None => {
                let list = match at.raw_get::<Option<Table>>("@entity")? {
                    Some(list) => list,
                    None => {
                        let list = lua.create_table()?;
                        at.raw_set("@entity", &list)?;
                        list
                    }
                };
                list.raw_push(message)?;
            }
        }
    }
    Ok(root)
}

fn key(lua: &Lua, step: &Step) -> mlua::Result<LuaValue> {
    Ok(match step {
        Step::Field(name) | Step::Key(name) => LuaValue::String(lua.create_string(name)?),
        Step::Index(index) => LuaValue::Integer(i64::try_from(index + 1).unwrap_or(i64::MAX)),
    })
}
