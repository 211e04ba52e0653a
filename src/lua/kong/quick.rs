//! A short way into the functions of the PDK that plugins call most.
//!
//! A row takes its arguments and gives its results as lists of values, each of which is kept from
//! Lua's collector by a slot of its own. For one text in and one text out that costs several times
//! what the call does. The short way takes texts as they lie on Lua's stack. Whatever is out of the
//! ordinary, such as another type, another phase or an odd name, it leaves to the row: the rules
//! and their messages are there alone.

use http::header::{COOKIE, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue};
use mlua::{BString, Either, Function, IntoLua, Lua, Table, Value};

use super::value;
use super::{Phases, limit, state};
use crate::pdk::{Exchange, Source};
use crate::router::path;

/// What a call gives: a text or nothing, or a number.
type Given = Either<Option<String>, u16>;

/// What is done at once; nothing is left to the row if it says so.
enum Quick {
    /// Without arguments.
    Get(fn(&Exchange) -> Option<Given>),
    /// With a text.
    Text(fn(&Exchange, &[u8]) -> Option<Given>),
    /// With two texts, and without a result.
    Pair(fn(&Exchange, &[u8], &[u8]) -> Option<()>),
}

/// The functions that have a short way, by the names of their rows.
const QUICK: [(&str, Quick); 14] = [
    ("request.get_scheme", Quick::Get(|ex| text(ex.request.scheme()))),
    ("request.get_host", Quick::Get(|ex| text(&*ex.request.host()))),
    ("request.get_method", Quick::Get(|ex| text(ex.method().as_str()))),
    ("request.get_path", Quick::Get(|ex| text(path::decoded(ex.request.raw_path())))),
    ("request.get_raw_path", Quick::Get(|ex| text(ex.request.raw_path()))),
    ("request.get_header", Quick::Text(get_header)),
    ("client.get_ip", Quick::Get(|ex| text(ex.request.connection.peer.ip().to_string()))),
    (
        "client.get_forwarded_ip",
        Quick::Get(|ex| text(ex.request.connection.client.ip().to_string())),
    ),
    ("service.request.set_header", Quick::Pair(set_request_header)),
    ("service.response.get_status", Quick::Get(|ex| number(ex.service.status.get()?.as_u16()))),
    ("response.get_status", Quick::Get(|ex| number(ex.response.status().as_u16()))),
    ("response.get_source", Quick::Get(|ex| text(source(ex)))),
    ("response.get_header", Quick::Text(get_response_header)),
    ("response.set_header", Quick::Pair(set_response_header)),
];

/// `f` is the row's own function. It is called last, so its caller is the plugin.
const BIND: &str = "
local type = type
return {
  get = function(quick, f)
    return function()
      local value, is_left = quick()
      if is_left then
        return f()
      end
      return value
    end
  end,
  text = function(quick, f)
    return function(text)
      if type(text) == 'string' then
        local value, is_left = quick(text)
        if not is_left then
          return value
        end
      end
      return f(text)
    end
  end,
  pair = function(quick, f)
    return function(name, text)
      if type(name) == 'string' and type(text) == 'string' and quick(name, text) then
        return nil
      end
      return f(name, text)
    end
  end,
}";

/// Makes short ways for a VM.
pub(super) struct Ways(Table);

impl Ways {
    pub(super) fn new(lua: &Lua) -> mlua::Result<Self> {
        Ok(Self(lua.load(BIND).set_name("=host").eval()?))
    }

    /// Puts a short way in front of a row's function, if there is one.
    pub(super) fn ahead_of(
        &self,
        lua: &Lua,
        (name, phases): (&str, Phases),
        function: Function,
    ) -> mlua::Result<Function> {
        let Some((_, quick)) = QUICK.iter().find(|(known, _)| *known == name) else {
            return Ok(function);
        };
        let (kind, quick) = match *quick {
            Quick::Get(call) => {
                let run = move |lua: &Lua, ()| Ok(Ended::with(lua, phases.during(call)));
                ("get", lua.create_function(run)?)
            }
            Quick::Text(call) => {
                let run = move |lua: &Lua, text: BString| {
                    Ok(Ended::with(lua, phases.during(|ex| call(ex, &text))))
                };
                ("text", lua.create_function(run)?)
            }
            Quick::Pair(call) => {
                let run = move |_: &Lua, (name, text): (BString, BString)| {
                    Ok(phases.during(|ex| call(ex, &name, &text)).is_some())
                };
                ("pair", lua.create_function(run)?)
            }
        };
        self.0.get::<Function>(kind)?.call((quick, function))
    }
}

/// The last of the results, which says whether all is left to the row. A text before it is made
/// without the limit on memory, as in [`limit::off`]; that is over when this is made.
struct Ended {
    is_left: bool,
    _limit: Option<limit::Lifted>,
}

impl Ended {
    fn with(lua: &Lua, given: Option<Given>) -> (Given, Self) {
        let is_text = matches!(given, Some(Either::Left(Some(_))));
        let ended = Self { is_left: given.is_none(), _limit: is_text.then(|| limit::lift(lua)) };
        (given.unwrap_or(Either::Left(None)), ended)
    }
}

impl IntoLua for Ended {
    fn into_lua(self, _: &Lua) -> mlua::Result<Value> {
        Ok(if self.is_left { Value::Boolean(true) } else { Value::Nil })
    }
}

fn text(text: impl Into<String>) -> Option<Given> {
    Some(Either::Left(Some(text.into())))
}

fn number(number: u16) -> Option<Given> {
    Some(Either::Right(number))
}

fn header(found: Option<&HeaderValue>) -> Option<Given> {
    match found {
        Some(found) => text(found.to_str().ok()?),
        None => Some(Either::Left(None)),
    }
}

fn get_header(ex: &Exchange, name: &[u8]) -> Option<Given> {
    if name.eq_ignore_ascii_case(COOKIE.as_str().as_bytes()) {
        return None;
    }
    header(value::sent_header(&ex.request.headers(), name))
}

fn get_response_header(ex: &Exchange, name: &[u8]) -> Option<Given> {
    let headers = ex.response.headers();
    let found = value::header_within(&headers, name);
    // The long way knows of headers that are nginx' own.
    (found.is_some() || !name.eq_ignore_ascii_case(b"connection")).then(|| header(found))?
}

/// A name and a value that need no more than to be set.
fn pair(name: &[u8], text: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let text = text.trim_ascii();
    let name = HeaderName::from_bytes(name).ok()?;
    let value = (!text.is_empty()).then(|| HeaderValue::from_bytes(text));
    Some((name, value?.ok()?))
}

fn set_request_header(ex: &Exchange, name: &[u8], text: &[u8]) -> Option<()> {
    let (name, value) = pair(name, text).filter(|(name, _)| name != HOST)?;
    ex.request.set_header(name, value);
    Some(())
}

fn set_response_header(ex: &Exchange, name: &[u8], text: &[u8]) -> Option<()> {
    let has_printed = state::known(ex).is_some_and(|state| state.printed.borrow().is_some());
    let (name, value) = pair(name, text)?;
    if has_printed || name == TRANSFER_ENCODING || name.as_str().contains('_') {
        return None;
    }
    ex.response.set_header(name, value);
    Some(())
}

/// What `kong.response.get_source` says.
pub(super) fn source(ex: &Exchange) -> &'static str {
    match ex.response.source() {
        Source::Service => "service",
        Source::Exit => "exit",
        Source::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::QUICK;

    #[test]
    fn every_short_way_has_a_row_behind_it() {
        let vm = crate::lua::Vm::new(&crate::lua::Options::default()).unwrap();
        for (name, _) in &QUICK {
            let code = format!("return (debug.getupvalue(kong.{name}, 1))");
            let first: String = vm.lua().load(code).eval().unwrap();
            assert!(first == "quick" || first == "type", "{name} has no short way");
        }
    }
}
