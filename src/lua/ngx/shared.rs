//! `ngx.shared.*`: memory that the Lua code of all workers has in common.

use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, MultiValue, Table, Value};

use super::{encode, number, one};
use crate::dicts::{Dict, Item, Put, Refused, Terms};
use crate::lua::Options;
use crate::lua::bind::{self, Answer, Fault};
use crate::lua::kong::value::{kind, shown};

/// The longest key (OpenResty).
const KEY_LIMIT: usize = 65_535;

/// Memory is counted in pages (nginx).
const PAGE: usize = 4096;

/// A method of a dictionary: what follows `self` are its arguments.
type Method = fn(&Lua, &Dict, MultiValue) -> Answer;

const METHODS: &[(&str, Method)] = &[
    ("get", get),
    ("get_stale", get_stale),
    ("set", |lua, dict, args| put(lua, dict, args, Put::Set, true)),
    ("safe_set", |lua, dict, args| put(lua, dict, args, Put::Set, false)),
    ("add", |lua, dict, args| put(lua, dict, args, Put::Add, true)),
    ("safe_add", |lua, dict, args| put(lua, dict, args, Put::Add, false)),
    ("replace", |lua, dict, args| put(lua, dict, args, Put::Replace, true)),
    ("delete", delete),
    ("incr", incr),
    ("lpush", |lua, dict, args| push(lua, dict, args, true)),
    ("rpush", |lua, dict, args| push(lua, dict, args, false)),
    ("lpop", |lua, dict, args| pop(lua, dict, args, true)),
    ("rpop", |lua, dict, args| pop(lua, dict, args, false)),
    ("llen", llen),
    ("ttl", ttl),
    ("expire", expire),
    ("flush_all", |lua, dict, _| {
        dict.flush_all();
        one(lua, ())
    }),
    ("flush_expired", |lua, dict, mut args| {
        let limit = args.pop_front().as_ref().and_then(number).unwrap_or_default() as usize;
        let limit = if limit == 0 { usize::MAX } else { limit };
        one(lua, dict.flush_expired(limit) as f64)
    }),
    ("get_keys", get_keys),
    ("capacity", |lua, dict, _| one(lua, dict.capacity() as f64)),
    ("free_space", |lua, dict, _| one(lua, (dict.free() & !(PAGE - 1)) as f64)),
];

pub(super) fn install(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    let options = Options::of_vm(lua)?;
    let shared = lua.create_table()?;
    for name in options.dicts.names() {
        let table = lua.create_table()?;
        let name: Rc<str> = name.into();
        for (method, call) in METHODS {
            let (options, name) = (options.clone(), name.clone());
            let run = move |lua: &Lua, mut args: MultiValue| {
                // Called with a dot, a method would take its first argument for the dictionary.
                let is_dict = |zone: &Value| {
                    let method = zone.as_table().and_then(|zone| zone.get::<Value>("llen").ok());
                    method.is_some_and(|method| method.is_function())
                };
                let zone = args.pop_front().filter(is_dict);
                match zone.and_then(|_| options.dicts.get(&name)) {
                    Some(dict) => call(lua, dict, args),
                    None => Err("bad \"zone\" argument".into()),
                }
            };
            table.raw_set(*method, bind::function(lua, run)?)?;
        }
        shared.raw_set(&*name, table)?;
    }
    ngx.set("shared", shared)
}

/// The next argument as a key, or what is wrong with it.
fn key(args: &mut MultiValue) -> Result<Vec<u8>, &'static str> {
    let key = match args.pop_front() {
        None | Some(Value::Nil) => return Err("nil key"),
        Some(Value::String(key)) => key.as_bytes().to_vec(),
        Some(other) => shown(&other).unwrap_or_default().into_bytes(),
    };
    match key.len() {
        0 => Err("empty key"),
        1..=KEY_LIMIT => Ok(key),
        _ => Err("key too long"),
    }
}

macro_rules! key {
    ($lua:expr, $args:expr) => {
        match key(&mut $args) {
            Ok(key) => key,
            Err(told) => return one($lua, (Value::Nil, told)),
        }
    };
}

fn value_of(lua: &Lua, item: Item) -> mlua::Result<Value> {
    Ok(match item {
        Item::Number(number) => Value::Number(number),
        Item::Boolean(truth) => Value::Boolean(truth),
        Item::Text(text) => Value::String(lua.create_string(text)?),
        Item::List(_) => Value::Nil,
    })
}

fn item_of(value: &Value) -> Option<Item> {
    match value {
        Value::String(text) => Some(Item::Text(text.as_bytes().to_vec())),
        Value::Boolean(truth) => Some(Item::Boolean(*truth)),
        value => number(value).map(Item::Number),
    }
}

/// A number, or a text that is one (`tonumber`).
fn as_number(value: &Value) -> Option<f64> {
    let parsed = || value.as_string()?.to_str().ok()?.trim().parse().ok();
    number(value).or_else(parsed)
}

/// A time to live in seconds; what is not above 0, no number or too long to be counted is for ever
/// (OpenResty).
fn lifetime(seconds: f64) -> Option<Duration> {
    let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())?;
    // nginx counts milliseconds.
    Some(time.max(Duration::from_millis(1)))
}

/// The time to live of a new value, which cannot be below 0.
fn time_to_live(seconds: f64, name: &str) -> Result<Option<Duration>, Fault> {
    if seconds < 0.0 {
        return Err(format!("bad \"{name}\" argument").into());
    }
    Ok(lifetime(seconds))
}

/// What Lua says when a value that is no number is given to C by its FFI.
fn no_conversion(value: &Value, to: &str) -> String {
    format!("(cannot convert '{}' to '{to}')", kind(value))
}

fn get(lua: &Lua, dict: &Dict, mut args: MultiValue) -> Answer {
    let key = key!(lua, args);
    let Some(held) = dict.get(&key) else { return one(lua, Value::Nil) };
    if matches!(held.item, Item::List(_)) {
        return one(lua, (Value::Nil, "value is a list"));
    }
    let value = value_of(lua, held.item)?;
    // One value alone, so that the call can be the last argument of another.
    if held.flags == 0 { one(lua, value) } else { one(lua, (value, held.flags)) }
}

fn get_stale(lua: &Lua, dict: &Dict, mut args: MultiValue) -> Answer {
    let key = key!(lua, args);
    let Some(held) = dict.get_stale(&key) else { return one(lua, Value::Nil) };
    if matches!(held.item, Item::List(_)) {
        return one(lua, (Value::Nil, "value is a list"));
    }
    let flags = (held.flags != 0).then_some(held.flags);
    one(lua, (value_of(lua, held.item)?, flags, held.is_stale))
}

fn put(lua: &Lua, dict: &Dict, mut args: MultiValue, how: Put, evicts: bool) -> Answer {
    let ttl = match args.get(2) {
        None | Some(Value::Nil | Value::Boolean(false)) => None,
        Some(value) => {
            let told = || format!("attempt to compare {} with number", kind(value));
            time_to_live(number(value).ok_or_else(told)?, "exptime")?
        }
    };
    let key = key!(lua, args);
    let value = args.pop_front().unwrap_or(Value::Nil);
    let flags = flags(args.get(1))?;
    if value.is_nil() {
        if how != Put::Set {
            return one(lua, (false, "attempt to add or replace nil values", false));
        }
        dict.delete(&key);
        return one(lua, (true, Value::Nil, false));
    }
    let Some(item) = item_of(&value) else { return one(lua, (Value::Nil, "bad value type")) };
    match dict.put(&key, item, how, Terms { flags, ttl, evicts }) {
        Ok(forced) => one(lua, (true, Value::Nil, forced)),
        Err(refused) => {
            let forced = refused == Refused::NoMemory { forced: true };
            one(lua, (false, refused.to_string(), forced))
        }
    }
}

/// Flags are C's `int`: what does not fit is its smallest value, as LuaJIT converts it.
fn flags(value: Option<&Value>) -> Result<i32, Fault> {
    match value {
        None | Some(Value::Nil | Value::Boolean(false)) => Ok(0),
        Some(Value::Boolean(true)) => Ok(1),
        Some(value) => {
            let told = || {
                let what = no_conversion(value, "int");
                format!("bad argument #10 to 'ngx_http_lua_ffi_shdict_store' {what}")
            };
            let number = number(value).ok_or_else(told)?.trunc();
            let fits = (f64::from(i32::MIN)..=f64::from(i32::MAX)).contains(&number);
            Ok(if fits { number as i32 } else { i32::MIN })
        }
    }
}

fn delete(lua: &Lua, dict: &Dict, mut args: MultiValue) -> Answer {
    let key = key!(lua, args);
    dict.delete(&key);
    one(lua, (true, Value::Nil, false))
}

fn incr(lua: &Lua, dict: &Dict, mut args: MultiValue) -> Answer {
    let key = key!(lua, args);
    let by = args.pop_front().as_ref().and_then(as_number);
    let by = by.ok_or("cannot convert 'nil' to 'double'")?;
    let init = match args.pop_front() {
        None | Some(Value::Nil | Value::Boolean(false)) => None,
        Some(init) => {
            let told = || format!("bad init arg: number expected, got {}", kind(&init));
            Some(as_number(&init).ok_or_else(told)?)
        }
    };
    let ttl = match args.pop_front() {
        None | Some(Value::Nil) => None,
        Some(ttl) => {
            let told = || format!("bad init_ttl arg: number expected, got {}", kind(&ttl));
            let ttl = time_to_live(as_number(&ttl).ok_or_else(told)?, "init_ttl")?;
            if init.is_none() {
                return Err("must provide \"init\" when providing \"init_ttl\"".into());
            }
            ttl
        }
    };
    let terms = Terms { flags: 0, ttl, evicts: true };
    match dict.incr(&key, by, init.map(|init| (init, terms))) {
        Ok((number, forced)) if init.is_some() => one(lua, (number, Value::Nil, forced)),
        Ok((number, _)) => one(lua, number),
        Err(refused) => one(lua, (Value::Nil, refused.to_string())),
    }
}

/// The functions for lists are C's: their keys are texts or numbers.
fn is_text(args: &MultiValue, name: &str) -> Result<(), Fault> {
    match args.front() {
        None | Some(Value::Nil | Value::String(_) | Value::Integer(_) | Value::Number(_)) => Ok(()),
        other => Err(encode::wrong(2, name, "string", other)),
    }
}

fn push(lua: &Lua, dict: &Dict, mut args: MultiValue, front: bool) -> Answer {
    is_text(&args, if front { "lpush" } else { "rpush" })?;
    let key = key!(lua, args);
    let item = match args.pop_front() {
        Some(Value::Boolean(_)) | None => None,
        Some(value) => item_of(&value),
    };
    let Some(item) = item else { return one(lua, (Value::Nil, "bad value type")) };
    answered(lua, dict.push(&key, item, front).map(|length| Value::Number(length as f64)))
}

fn pop(lua: &Lua, dict: &Dict, mut args: MultiValue, front: bool) -> Answer {
    is_text(&args, if front { "lpop" } else { "rpop" })?;
    let key = key!(lua, args);
    match dict.pop(&key, front) {
        Ok(Some(item)) => one(lua, value_of(lua, item)?),
        Ok(None) => one(lua, Value::Nil),
        Err(refused) => one(lua, (Value::Nil, refused.to_string())),
    }
}

fn llen(lua: &Lua, dict: &Dict, mut args: MultiValue) -> Answer {
    is_text(&args, "llen")?;
    let key = key!(lua, args);
    answered(lua, dict.len(&key).map(|length| Value::Number(length as f64)))
}

fn answered(lua: &Lua, result: Result<Value, Refused>) -> Answer {
    match result {
        Ok(value) => one(lua, value),
        Err(refused) => one(lua, (Value::Nil, refused.to_string())),
    }
}

fn ttl(lua: &Lua, dict: &Dict, mut args: MultiValue) -> Answer {
    let key = key!(lua, args);
    match dict.ttl(&key) {
        None => one(lua, (Value::Nil, "not found")),
        Some(left) => one(lua, left),
    }
}

fn expire(lua: &Lua, dict: &Dict, mut args: MultiValue) -> Answer {
    let key = key!(lua, args);
    let ttl = match args.pop_front() {
        None | Some(Value::Nil | Value::Boolean(false)) => {
            return Err("bad \"exptime\" argument".into());
        }
        Some(value) => {
            let what = "attempt to perform arithmetic on local 'exptime'";
            let told = || format!("{what} (a {} value)", kind(&value));
            lifetime(as_number(&value).ok_or_else(told)?)
        }
    };
    match dict.expire(&key, ttl) {
        true => one(lua, true),
        false => one(lua, (Value::Nil, "not found")),
    }
}

fn get_keys(lua: &Lua, dict: &Dict, mut args: MultiValue) -> Answer {
    let limit = match args.pop_front() {
        None | Some(Value::Nil) => 1024.0,
        Some(value) => {
            let told = || encode::wrong(2, "get_keys", "number", Some(&value));
            as_number(&value).ok_or_else(told)?
        }
    };
    let limit = limit.max(0.0) as usize;
    let limit = if limit == 0 { usize::MAX } else { limit };
    let keys = dict.keys(limit).into_iter().map(|key| lua.create_string(key));
    let keys: Vec<_> = keys.collect::<mlua::Result<_>>()?;
    one(lua, lua.create_sequence_from(keys)?)
}
