//! What `resty.mlcache` and `kong.worker_events` stand on: news of caches, one caller at a time,
//! and events for all workers.

use std::cell::Cell;
use std::time::Duration;

use mlua::{Function, Lua, LuaString, MultiValue, Table, Thread, Value};

use super::Options;
use super::bind::{self, Answer};
use super::kong::value::{one, text};
use super::owner::Owner;
use crate::dicts::{Change, Event};

/// Installs the module `silverback.cache`.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let cache = lua.create_table()?;
    let seen = Cell::new(0);
    cache.set("news", bind::function(lua, move |lua, _| news(lua, &seen))?)?;
    cache.set("changed", bind::function(lua, changed)?)?;
    cache.set("alone", bind::waiting(lua, |lua, args| async move { alone(&lua, args).await })?)?;
    cache.set("post", bind::function(lua, post)?)?;
    cache.set("listen", bind::function(lua, listen)?)?;
    cache.set("answer", bind::function(lua, answer)?)?;
    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    preload.set("silverback.cache", lua.create_function(move |_, _: String| Ok(cache.clone()))?)
}

/// `news()`: nil if nothing has changed; else a list of pairs of cache and key, where `false` for a
/// key is every key; or `true` if everything may have changed.
fn news(lua: &Lua, seen: &Cell<u64>) -> Answer {
    let options = Options::of_vm(lua)?;
    if options.dicts.changes.count() == seen.get() {
        return one(lua, ());
    }
    let (changes, count) = options.dicts.changes.since(seen.get());
    seen.set(count);
    let Some(changes) = changes else { return one(lua, true) };
    let list = lua.create_table_with_capacity(changes.len() * 2, 0)?;
    for change in changes {
        list.raw_push(lua.create_string(change.cache)?)?;
        match change.key {
            Some(key) => list.raw_push(lua.create_string(key)?)?,
            None => list.raw_push(false)?,
        }
    }
    one(lua, list)
}

/// `changed(cache, key)`: every worker drops its copy; without a key, of all keys.
fn changed(lua: &Lua, mut args: MultiValue) -> Answer {
    let cache = text(&mut args, "cache must be a string")?.as_bytes().to_vec();
    let key = match args.pop_front() {
        Some(Value::String(key)) => Some(key.as_bytes().to_vec()),
        _ => None,
    };
    Options::of_vm(lua)?.dicts.changes.note(Change { cache, key });
    one(lua, ())
}

/// `alone(name, seconds, f, ...)`: calls `f` while nobody else in the process is in a call of this
/// name. True and its results; or false, if the others take too long.
async fn alone(lua: &Lua, mut args: MultiValue) -> Answer {
    let name = text(&mut args, "name must be a string")?.as_bytes().to_vec();
    let seconds = match args.pop_front() {
        Some(Value::Integer(seconds)) => seconds as f64,
        Some(Value::Number(seconds)) => seconds,
        _ => 5.0,
    };
    let Some(Value::Function(f)) = args.pop_front() else { return Err("no function".into()) };
    let code = beside(lua, f)?;
    let options = Options::of_vm(lua)?;
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let Ok(flight) = tokio::time::timeout(limit, options.dicts.flights.take(&name)).await else {
        return one(lua, false);
    };
    let results = code.into_async::<MultiValue>(args)?.await;
    drop(flight);
    let mut results = results?;
    results.push_front(Value::Boolean(true));
    Ok(results)
}

/// A coroutine for a function, which counts as the light thread that it is called in, if it is one:
/// `kong.response.exit` lets light threads go on.
fn beside(lua: &Lua, f: Function) -> mlua::Result<Thread> {
    let code = lua.create_thread(f)?;
    let threads: Table = lua.named_registry_value(bind::LIGHT)?;
    let light: Value = threads.raw_get(lua.current_thread())?;
    threads.raw_set(&code, light)?;
    Ok(code)
}

/// `post(source, event, data)`: `data` is a text that every worker is given.
fn post(lua: &Lua, mut args: MultiValue) -> Answer {
    let mut next = |refusal| -> Result<Vec<u8>, bind::Fault> {
        Ok(text(&mut args, refusal)?.as_bytes().to_vec())
    };
    let event = Event {
        source: next("source is required")?,
        name: next("event is required")?,
        data: next("data must be a string")?,
    };
    Options::of_vm(lua)?.dicts.post(event);
    one(lua, true)
}

/// `answer(id, text)`: answers what the process has asked.
fn answer(lua: &Lua, mut args: MultiValue) -> Answer {
    let id = text(&mut args, "id must be a string")?.to_string_lossy();
    let told = text(&mut args, "the answer must be a string")?.as_bytes().to_vec();
    if let Ok(id) = id.parse() {
        Options::of_vm(lua)?.dicts.answers.give(id, told);
    }
    one(lua, ())
}

/// `listen(f)`: calls `f(source, event, data)` for every event from here on.
fn listen(lua: &Lua, mut args: MultiValue) -> Answer {
    let Some(Value::Function(f)) = args.pop_front() else { return Err("no function".into()) };
    let options = Options::of_vm(lua)?;
    if options.worker.is_none() {
        return one(lua, false);
    }
    let mut events = options.dicts.events();
    let lua_of_task = lua.weak();
    tokio::task::spawn_local(async move {
        loop {
            match events.recv().await {
                Ok(event) => {
                    let Some(lua) = lua_of_task.try_upgrade() else { break };
                    if let Some(Err(error)) = Owner::timer(told(&lua, &f, &event)).await {
                        tracing::error!(target: "lua", phase = "timer", "worker event: {error}");
                    }
                }
                Err(tokio::sync::broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::error!(target: "lua", lost, "worker events were lost");
                }
                Err(_) => break,
            }
        }
    });
    one(lua, true)
}

async fn told(lua: &Lua, f: &Function, event: &Event) -> mlua::Result<()> {
    let texts: [LuaString; 3] = [
        lua.create_string(&event.source)?,
        lua.create_string(&event.name)?,
        lua.create_string(&event.data)?,
    ];
    let [source, name, data] = texts;
    f.call_async::<()>((source, name, data)).await
}
