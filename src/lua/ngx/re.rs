//! `ngx.re`: regular expressions of PCRE2, compiled once for a pattern and its options.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use mlua::{Function, Lua, LuaString, MultiValue, Table, Value};
use pcre2::bytes::{CaptureLocations, Regex, RegexBuilder};

use super::{number, one};
use crate::lua::bind::{self, Answer, Fault};
use crate::lua::kong::value::{kind, shown};

/// Compiled patterns that a VM keeps (`lua_regex_cache_max_entries` in Kong: 8192).
const CACHE: usize = 8192;

/// Compiled patterns by options and text.
type Cache = RefCell<HashMap<(String, String), Rc<Regex>>>;

/// A function of the module, which has the cache beside its arguments.
type Method = fn(&Lua, &Cache, MultiValue) -> Answer;

pub(super) fn install(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    let re = lua.create_table()?;
    let cache: Rc<Cache> = Rc::default();
    let methods: [(&str, Method); 6] = [
        ("match", matched),
        ("find", find),
        ("gmatch", |_, _, _| Err("gmatch is set below".into())),
        ("_gmatch", gmatch_step),
        ("sub", |lua, cache, args| replace(lua, cache, args, false)),
        ("gsub", |lua, cache, args| replace(lua, cache, args, true)),
    ];
    for (name, call) in methods {
        let cache = cache.clone();
        re.set(name, bind::function(lua, move |lua, args| call(lua, &cache, args))?)?;
    }
    re.set("gmatch", lua.load(GMATCH).set_name("=ngx.re").call::<Function>(&re)?)?;
    for (name, is_all) in [("sub", "false"), ("gsub", "true")] {
        let code = lua.load(REPLACE.replace("%s", is_all)).set_name("=ngx.re");
        let (step, whole): (Function, Function) = (re.get("_gmatch")?, re.get(name)?);
        re.set(name, code.call::<Function>((step, whole))?)?;
    }
    re.set("_gmatch", Value::Nil)?;
    ngx.set("re", re)
}

/// An iterator keeps its place in a table, as `ngx.re.match` does.
const GMATCH: &str = "
local re = ...
local step = re._gmatch
return function(subject, regex, options)
  subject = tostring(subject)
  local ok, err = step(subject, regex, options, 0, true)
  if not ok then
    return nil, err
  end
  local at = 0
  return function()
    if at then
      local captures, next_at = step(subject, regex, options, at)
      at = captures and next_at
      return captures, not captures and next_at or nil
    end
  end
end";

/// Replaces by a function, which is called from Lua: it may wait, and its errors are its own.
const REPLACE: &str = "
local step, replace_all = ...
local function pieces(subject, regex, replace, options, all)
  local parts, at, copied, count = {}, 0, 1, 0
  repeat
    local captures, next_at, first, last = step(subject, regex, options, at)
    if not captures then
      if next_at then
        return nil, nil, next_at
      end
      break
    end
    parts[#parts + 1] = subject:sub(copied, first - 1)
    parts[#parts + 1] = tostring(replace(captures))
    at, copied, count = next_at, last + 1, count + 1
  until not all
  parts[#parts + 1] = subject:sub(copied)
  return table.concat(parts), count
end
return function(subject, regex, replace, options)
  if type(replace) ~= 'function' then
    return replace_all(subject, regex, replace, options)
  end
  subject = tostring(subject)
  local ok, err = step(subject, regex, options, 0, true)
  if not ok then
    return nil, nil, err
  end
  return pieces(subject, regex, replace, options, %s)
end";

/// What a call is about.
struct Call {
    subject: LuaString,
    regex: Rc<Regex>,
    /// Names may stand for several groups (`D`).
    has_lists: bool,
}

/// Reads subject, pattern and options. The inner error is a message for the second result.
fn call(lua: &Lua, cache: &Cache, args: &mut MultiValue) -> Result<Result<Call, String>, Fault> {
    let subject = string(lua, args.pop_front())?;
    let pattern = args.pop_front().unwrap_or(Value::Nil);
    let options = match args.pop_front() {
        None | Some(Value::Nil | Value::Boolean(false)) => String::new(),
        Some(Value::String(options)) => options.to_string_lossy(),
        Some(other) => return Err(no_length("opts", &other)),
    };
    let pattern = match pattern {
        Value::String(pattern) => pattern,
        Value::Table(_) => {
            let what = "cannot convert 'table' to 'const unsigned char *'";
            return Err(format!("bad argument #1 to 'ngx_lua_ffi_compile_regex' ({what})").into());
        }
        other => return Err(no_length("regex", &other)),
    };
    let regex = compiled(cache, &pattern.to_string_lossy(), &options)?;
    let has_lists = options.contains('D');
    Ok(regex.map(|regex| Call { subject, regex, has_lists }))
}

/// What Lua says about the length of a value that has none.
fn no_length(name: &str, value: &Value) -> Fault {
    format!("attempt to get length of local '{name}' (a {} value)", kind(value)).into()
}

fn string(lua: &Lua, value: Option<Value>) -> Result<LuaString, Fault> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Nil) | None => Ok(lua.create_string("nil")?),
        Some(other) => Ok(lua.create_string(shown(&other)?)?),
    }
}

fn compiled(
    cache: &Cache,
    pattern: &str,
    options: &str,
) -> Result<Result<Rc<Regex>, String>, Fault> {
    let key = (options.to_owned(), pattern.to_owned());
    if let Some(regex) = cache.borrow().get(&key) {
        return Ok(Ok(regex.clone()));
    }
    let mut builder = RegexBuilder::new();
    builder.jit_if_available(true);
    let (mut before, mut after) = (String::new(), ")");
    for flag in options.chars() {
        match flag {
            'i' => drop(builder.caseless(true)),
            'm' => drop(builder.multi_line(true)),
            's' => drop(builder.dotall(true)),
            'x' => {
                builder.extended(true);
                // The pattern may end in a comment.
                after = "\n)";
            }
            'u' | 'U' => drop(builder.utf(true)),
            'a' => before.push_str("\\G"),
            // Names may come twice.
            'D' => before.insert_str(0, "(?J)"),
            // How OpenResty compiles and keeps a pattern, and its DFA: no difference here.
            'o' | 'j' | 'd' | 'J' => {}
            other => {
                return Err(format!("unknown flag \"{other}\" (flags \"{options}\")").into());
            }
        }
    }
    let text = match before.as_str() {
        "" => pattern.to_owned(),
        before => format!("{before}(?:{pattern}{after}"),
    };
    match builder.build(&text) {
        Ok(regex) => {
            let regex = Rc::new(regex);
            let mut cache = cache.borrow_mut();
            if cache.len() >= CACHE {
                cache.clear();
            }
            cache.insert(key, regex.clone());
            Ok(Ok(regex))
        }
        Err(error) => {
            let added = if before.is_empty() { 0 } else { before.len() + 3 };
            Ok(Err(complaint(pattern, &error, added)))
        }
    }
}

/// PCRE's error about a pattern in OpenResty's words; `added` bytes in front are not the user's.
fn complaint(pattern: &str, error: &pcre2::Error, added: usize) -> String {
    let told = error.to_string();
    let reason = told.split_once("offset ").and_then(|(_, rest)| rest.split_once(": "));
    let reason = reason.map_or(told.as_str(), |(_, reason)| reason);
    let offset = error.offset().unwrap_or_default().saturating_sub(added);
    let rest = pattern.get(offset..).unwrap_or_default();
    let place = if rest.is_empty() { String::new() } else { format!(" at \"{rest}\"") };
    format!("pcre2_compile() failed: {reason} in \"{pattern}\"{place}")
}

/// What PCRE has against a pattern; `None` if it compiles.
pub(in crate::lua) fn refused(pattern: &str) -> Option<String> {
    let error = Regex::new(pattern).err()?;
    Some(complaint(pattern, &error, 0))
}

/// `PCRE2_ERROR_BADOFFSET`.
const BAD_OFFSET: i32 = -33;

/// The first match from a byte on: its groups. The words are those of lua-resty-core, which kept
/// the name of the older library.
fn search(call: &Call, from: usize) -> Result<Option<CaptureLocations>, String> {
    let subject = call.subject.as_bytes();
    if from > subject.len() {
        return Err(format!("pcre_exec() failed: {BAD_OFFSET}"));
    }
    let mut groups = call.regex.capture_locations();
    match call.regex.captures_read_at(&mut groups, &subject, from) {
        Ok(found) => Ok(found.map(|_| groups)),
        Err(error) => Err(format!("pcre_exec() failed: {}", error.code())),
    }
}

/// A table of the groups: by number, 0 being the whole, and by name; `false` for one that is not
/// part of the match.
fn captures(lua: &Lua, call: &Call, groups: &CaptureLocations, into: &Table) -> mlua::Result<()> {
    let subject = call.subject.as_bytes();
    let names = call.regex.capture_names();
    for index in 0..groups.len() {
        let text = match groups.get(index) {
            Some((start, end)) => Value::String(lua.create_string(&subject[start..end])?),
            None => Value::Boolean(false),
        };
        if let Some(Some(name)) = names.get(index) {
            if call.has_lists {
                if text.is_string() {
                    let list = match into.raw_get::<Value>(name.as_str())? {
                        Value::Table(list) => list,
                        _ => lua.create_table()?,
                    };
                    list.raw_push(&text)?;
                    into.raw_set(name.as_str(), list)?;
                }
            } else {
                into.raw_set(name.as_str(), &text)?;
            }
        }
        into.raw_set(index, text)?;
    }
    Ok(())
}

/// The place to begin at, which `ctx.pos` names from 1 on, and the table to write the next to.
fn context(value: Option<Value>) -> Result<(usize, Option<Table>), Fault> {
    let table = match value {
        None | Some(Value::Nil | Value::Boolean(false)) => return Ok((0, None)),
        Some(Value::Table(table)) => table,
        Some(other) => {
            let told = format!("attempt to index local 'ctx' (a {} value)", kind(&other));
            return Err(told.into());
        }
    };
    let position = match table.get::<Value>("pos")? {
        Value::Nil | Value::Boolean(false) => 1.0,
        value => {
            let told = || format!("attempt to compare {} with number", kind(&value));
            number(&value).ok_or_else(told)?
        }
    };
    Ok((position.max(1.0) as usize - 1, Some(table)))
}

fn matched(lua: &Lua, cache: &Cache, mut args: MultiValue) -> Answer {
    let call = match call(lua, cache, &mut args)? {
        Ok(call) => call,
        Err(told) => return one(lua, (Value::Nil, told)),
    };
    let (from, table) = context(args.pop_front())?;
    let groups = match search(&call, from) {
        Ok(Some(groups)) => groups,
        Ok(None) => return one(lua, ()),
        Err(told) => return one(lua, (Value::Nil, told)),
    };
    if let (Some(table), Some((_, end))) = (table, groups.get(0)) {
        table.set("pos", end + 1)?;
    }
    let into = match args.pop_front() {
        Some(Value::Table(into)) => into,
        _ => lua.create_table()?,
    };
    captures(lua, &call, &groups, &into)?;
    one(lua, into)
}

fn find(lua: &Lua, cache: &Cache, mut args: MultiValue) -> Answer {
    let call = match call(lua, cache, &mut args)? {
        Ok(call) => call,
        Err(told) => return one(lua, (Value::Nil, Value::Nil, told)),
    };
    let (from, table) = context(args.pop_front())?;
    let group = args.pop_front().as_ref().and_then(number).unwrap_or_default() as usize;
    let groups = match search(&call, from) {
        Ok(Some(groups)) => groups,
        Ok(None) => return one(lua, ()),
        Err(told) => return one(lua, (Value::Nil, Value::Nil, told)),
    };
    if group >= groups.len() {
        return one(lua, (Value::Nil, Value::Nil, "nth out of bound"));
    }
    if let (Some(table), Some((_, end))) = (table, groups.get(0)) {
        table.set("pos", end + 1)?;
    }
    match groups.get(group) {
        Some((start, end)) => one(lua, (start + 1, end)),
        None => one(lua, ()),
    }
}

/// One step of an iterator: the groups, and where the next step begins.
fn gmatch_step(lua: &Lua, cache: &Cache, mut args: MultiValue) -> Answer {
    let call = match call(lua, cache, &mut args)? {
        Ok(call) => call,
        Err(told) => return one(lua, (Value::Nil, told)),
    };
    let from = args.pop_front().as_ref().and_then(number).unwrap_or_default() as usize;
    if args.pop_front().is_some() {
        return one(lua, true);
    }
    // The last step may stand behind the end.
    if from > call.subject.as_bytes().len() {
        return one(lua, ());
    }
    let groups = match search(&call, from) {
        Ok(Some(groups)) => groups,
        Ok(None) => return one(lua, ()),
        Err(told) => return one(lua, (Value::Nil, told)),
    };
    let into = lua.create_table()?;
    captures(lua, &call, &groups, &into)?;
    let (start, end) = groups.get(0).unwrap_or((from, from));
    one(lua, (into, if start == end { end + 1 } else { end }, start + 1, end))
}

/// What a match is replaced with: texts and groups.
enum Piece {
    Text(Vec<u8>),
    Group(usize),
}

/// `$1`, `${1}`, `$$`; `None` for a template that is none.
fn template(text: &[u8]) -> Option<Vec<Piece>> {
    let (mut pieces, mut plain, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte != b'$' {
            plain.push(byte);
            continue;
        }
        let braced = text.get(at) == Some(&b'{');
        let start = at + usize::from(braced);
        let digits = text.get(start..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !braced && text.get(at) == Some(&b'$') {
            plain.push(b'$');
            at += 1;
            continue;
        }
        let group = std::str::from_utf8(text.get(start..start + digits)?).ok()?.parse().ok()?;
        at = start + digits;
        if braced {
            (text.get(at) == Some(&b'}')).then_some(())?;
            at += 1;
        }
        pieces.push(Piece::Text(std::mem::take(&mut plain)));
        pieces.push(Piece::Group(group));
    }
    pieces.push(Piece::Text(plain));
    Some(pieces)
}

fn replace(lua: &Lua, cache: &Cache, mut args: MultiValue, all: bool) -> Answer {
    let subject = args.pop_front().unwrap_or(Value::Nil);
    let pattern = args.pop_front().unwrap_or(Value::Nil);
    let text = string(lua, args.pop_front())?;
    let Some(pieces) = template(&text.as_bytes()) else {
        let told = "failed to compile the replacement template";
        return one(lua, (Value::Nil, Value::Nil, told));
    };
    let mut args =
        MultiValue::from_iter([subject, pattern, args.pop_front().unwrap_or(Value::Nil)]);
    let call = match call(lua, cache, &mut args)? {
        Ok(call) => call,
        Err(told) => return one(lua, (Value::Nil, Value::Nil, told)),
    };
    match replaced(&call, &pieces, all) {
        Ok((text, count)) => one(lua, (lua.create_string(text)?, count)),
        Err(told) => one(lua, (Value::Nil, Value::Nil, told)),
    }
}

/// The text with its matches replaced, and how many there were.
fn replaced(call: &Call, pieces: &[Piece], all: bool) -> Result<(Vec<u8>, usize), String> {
    let subject = call.subject.as_bytes().to_vec();
    let (mut out, mut copied, mut from, mut count) = (Vec::new(), 0, 0, 0);
    while (all || count == 0) && from <= subject.len() {
        let Some(groups) = search(call, from)? else { break };
        let (start, end) = groups.get(0).unwrap_or((from, from));
        out.extend_from_slice(&subject[copied..start]);
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Group(group) => {
                    let range = (*group < groups.len()).then(|| groups.get(*group));
                    if let Some(Some((start, end))) = range {
                        out.extend_from_slice(&subject[start..end]);
                    }
                }
            }
        }
        count += 1;
        copied = end;
        from = if start == end { end + 1 } else { end };
    }
    out.extend_from_slice(&subject[copied..]);
    Ok((out, count))
}
