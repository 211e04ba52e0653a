//! What `kong.db` stands on: the entities of the configuration, read by id, by field, page by page.
//!
//! An exchange reads the configuration that it began with. Other code reads the one in use.

use std::cell::RefCell;
use std::sync::Arc;

use mlua::{Lua, MultiValue, Table, Value};
use uuid::Uuid;

use super::bind::{self, Answer};
use super::kong::value::{one, table, utf8};
use super::{json, state};
use crate::catalog::{Catalog, Collection};
use crate::snapshot::Snapshot;

/// The configuration in use, for code that no exchange runs.
#[derive(Default)]
struct InUse(RefCell<Arc<Snapshot>>);

/// Says which configuration is in use from here on.
pub(super) fn put(lua: &Lua, snapshot: &Arc<Snapshot>) {
    if let Some(used) = lua.app_data_ref::<InUse>() {
        *used.0.borrow_mut() = snapshot.clone();
        return;
    }
    lua.set_app_data(InUse(RefCell::new(snapshot.clone())));
}

/// The configuration that the running code is to see.
pub(super) fn snapshot(lua: &Lua) -> Option<Arc<Snapshot>> {
    let of_exchange = state::current().and_then(|ex| ex.entities.get()?.snapshot().cloned());
    of_exchange.or_else(|| Some(lua.app_data_ref::<InUse>()?.0.borrow().clone()))
}

/// Installs the module `silverback.rows`.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let rows = lua.create_table()?;
    rows.set("get", bind::function(lua, get)?)?;
    rows.set("page", bind::function(lua, page)?)?;
    rows.set("find", bind::function(lua, find)?)?;
    rows.set(
        "hash",
        bind::function(lua, |lua, _| {
            one(lua, snapshot(lua).map(|snapshot| snapshot.hash.clone()))
        })?,
    )?;
    rows.set(
        "hash_in_use",
        bind::function(lua, |lua, _| {
            let hash = lua.app_data_ref::<InUse>().map(|used| used.0.borrow().hash.clone());
            one(lua, hash)
        })?,
    )?;
    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    preload.set("silverback.rows", lua.create_function(move |_, _: String| Ok(rows.clone()))?)
}

/// The collection of the next argument.
fn collection(
    catalog: &Catalog,
    args: &mut MultiValue,
) -> Result<Option<Arc<Collection>>, super::bind::Fault> {
    let name = utf8(args, "the name of a collection must be a string")?;
    Ok(catalog.collection(&name).cloned())
}

/// `get(collection, id)`: the entity, or nil.
fn get(lua: &Lua, mut args: MultiValue) -> Answer {
    let Some(snapshot) = snapshot(lua) else { return one(lua, ()) };
    let Some(rows) = collection(&snapshot.catalog, &mut args)? else { return one(lua, ()) };
    let id = utf8(&mut args, "an id must be a string")?;
    let found = Uuid::parse_str(&id).ok().and_then(|id| rows.by_id(id));
    one(lua, found.map(|row| json::entity(lua, row)).transpose()?)
}

/// `page(collection, from, size)`: entities, and where the next page begins.
fn page(lua: &Lua, mut args: MultiValue) -> Answer {
    let Some(snapshot) = snapshot(lua) else { return one(lua, lua.create_table()?) };
    let Some(rows) = collection(&snapshot.catalog, &mut args)? else {
        return one(lua, lua.create_table()?);
    };
    let (page, next) = rows.page(count(&mut args), count(&mut args));
    one(lua, (list(lua, &page)?, next))
}

/// `find(collection, fields, values, from, size)`: the same, of entities with these values.
fn find(lua: &Lua, mut args: MultiValue) -> Answer {
    let Some(snapshot) = snapshot(lua) else { return one(lua, lua.create_table()?) };
    let Some(rows) = collection(&snapshot.catalog, &mut args)? else {
        return one(lua, lua.create_table()?);
    };
    let mut texts = |refusal| -> Result<Vec<String>, super::bind::Fault> {
        let list = table(&mut args, refusal)?;
        let texts = list.sequence_values::<mlua::LuaString>();
        Ok(texts.map(|text| Ok(text?.to_string_lossy())).collect::<mlua::Result<_>>()?)
    };
    let (fields, values) = (texts("fields must be a list")?, texts("values must be a list")?);
    let (page, next) = rows.with(&fields, &values, (count(&mut args), count(&mut args)));
    one(lua, (list(lua, &page)?, next))
}

fn count(args: &mut MultiValue) -> usize {
    match args.pop_front() {
        Some(Value::Integer(count)) => usize::try_from(count).unwrap_or_default(),
        Some(Value::Number(count)) => count as usize,
        _ => 0,
    }
}

fn list(lua: &Lua, page: &[&Arc<serde_json::Value>]) -> mlua::Result<Table> {
    let list = lua.create_table_with_capacity(page.len(), 0)?;
    for row in page {
        list.raw_push(json::entity(lua, row)?)?;
    }
    Ok(list)
}
