//! What Lua code hands to sockets, checked in OpenResty's words.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, UserData, Value};

use crate::lua::bind::{Answer, Fault};
use crate::lua::ngx::{number, one};
use crate::lua::owner::Owner;
use crate::lua::{Options, state};
use crate::pdk::Phase;

/// How deep the tables may be nested that are sent.
const DEPTH_MAX: usize = 64;

/// What a Lua object of a socket holds in its first place.
pub(super) struct Handle<S>(pub(super) Rc<S>);

impl<S: 'static> UserData for Handle<S> {}

/// Who runs now, if it may wait for sockets.
pub(in crate::lua) fn waiter(lua: &Lua) -> Result<Rc<Owner>, Fault> {
    let phase = state::current().map(|ex| ex.phase());
    let disabled = |name: &str| Fault::from(format!("API disabled in the context of {name}*"));
    if let Some(phase) = phase
        && matches!(phase, Phase::Balancer | Phase::HeaderFilter | Phase::BodyFilter | Phase::Log)
    {
        return Err(disabled(&format!("{}_by_lua", phase.name())));
    }
    Owner::current(lua)?.ok_or_else(|| {
        let is_worker = Options::of_vm(lua).is_ok_and(|options| options.worker.is_some());
        disabled(if is_worker { "init_worker_by_lua" } else { "init_by_lua" })
    })
}

/// Refuses arguments of `ngx.socket.tcp` and `ngx.socket.udp`: they take none.
pub(super) fn none(args: &MultiValue) -> Result<(), Fault> {
    match args.len() {
        0 => Ok(()),
        got => Err(format!("expecting zero arguments, but got {got}").into()),
    }
}

/// The Lua object of a socket, with the methods of its kind.
pub(super) fn object<S: 'static>(lua: &Lua, kind: &str, socket: Rc<S>) -> Answer {
    let object = lua.create_table()?;
    object.raw_set(1, lua.create_userdata(Handle(socket))?)?;
    object.set_metatable(Some(lua.named_registry_value(kind)?))?;
    one(lua, object)
}

/// The arguments of a method, the object in front.
pub(super) struct Args {
    method: &'static str,
    values: Vec<Value>,
}

impl Args {
    pub(super) fn new(method: &'static str, args: MultiValue) -> Self {
        Self { method, values: args.into_vec() }
    }

    /// Refuses another number of them, the object included.
    pub(super) fn expect(&self, count: usize) -> Result<(), Fault> {
        let got = self.len();
        if got == count {
            return Ok(());
        }
        let got = format!("(including the object), but got {got}");
        Err(format!("expecting {count} arguments {got}").into())
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The argument of this number; the object is number 0.
    pub(super) fn get(&self, n: usize) -> &Value {
        self.values.get(n).unwrap_or(&Value::Nil)
    }

    /// The socket behind the object.
    pub(super) fn socket<S: 'static>(&self) -> Result<Rc<S>, Fault> {
        let Value::Table(table) = self.get(0) else {
            return Err(self.bad(1, &format!("table expected, got {}", type_of(self.get(0)))));
        };
        match table.raw_get(1)? {
            Value::UserData(data) => Ok(data.borrow::<Handle<S>>()?.0.clone()),
            _ => Err(self.bad(1, "socket expected")),
        }
    }

    pub(super) fn bad(&self, n: usize, what: &str) -> Fault {
        Fault::from(format!("bad argument #{n} to '{}' ({what})", self.method))
    }

    /// A text; numbers are texts, too.
    pub(super) fn text(&self, lua: &Lua, n: usize) -> Result<mlua::LuaString, Fault> {
        let value = self.get(n);
        let text = match value {
            Value::String(_) | Value::Integer(_) | Value::Number(_) => {
                lua.coerce_string(value.clone())?
            }
            _ => None,
        };
        text.ok_or_else(|| self.bad(n, &format!("string expected, got {}", type_of(value))))
    }

    /// A number, or a text that is one.
    pub(super) fn number(&self, lua: &Lua, n: usize) -> Result<Option<f64>, Fault> {
        Ok(match self.get(n) {
            text @ Value::String(_) => lua.coerce_number(text.clone())?,
            value => number(value),
        })
    }

    pub(super) fn table(&self, n: usize) -> Option<&Table> {
        self.get(n).as_table()
    }

    /// A port; `None` if it is no number.
    ///
    /// # Errors
    /// What `connect` says of it.
    pub(super) fn port(&self, lua: &Lua, n: usize) -> Result<Option<Result<u16, String>>, Fault> {
        let port = self.number(lua, n)?.map(|port| port.trunc());
        Ok(port.map(|port| {
            let is_port = (0.0..=65535.0).contains(&port);
            if is_port { Ok(port as u16) } else { Err(format!("bad port number: {port}")) }
        }))
    }

    /// What is to be sent.
    pub(super) fn data(&self, lua: &Lua, n: usize) -> Result<Vec<u8>, Fault> {
        let mut data = Vec::new();
        match self.get(n) {
            Value::Nil => data.extend_from_slice(b"nil"),
            Value::Boolean(flag) => data.extend_from_slice(flag.to_string().as_bytes()),
            Value::Table(table) => {
                flatten(lua, table, &mut data, DEPTH_MAX).map_err(|fault| match fault {
                    Fault::Caller(what) => self.bad(n, &what),
                    fault => fault,
                })?;
            }
            value @ (Value::String(_) | Value::Integer(_) | Value::Number(_)) => {
                append(lua, value, &mut data)?;
            }
            other => {
                let expected = "string, number, boolean, nil, or array table expected";
                return Err(self.bad(n, &format!("{expected}, got {}", type_of(other))));
            }
        }
        Ok(data)
    }
}

/// Lua's own name of a type.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "number",
        Value::LightUserData(_) => "userdata",
        other => other.type_name(),
    }
}

fn append(lua: &Lua, value: &Value, data: &mut Vec<u8>) -> Result<(), Fault> {
    if let Some(text) = lua.coerce_string(value.clone())? {
        data.extend_from_slice(&text.as_bytes());
    }
    Ok(())
}

fn flatten(lua: &Lua, table: &Table, data: &mut Vec<u8>, depth: usize) -> Result<(), Fault> {
    if depth == 0 {
        return Err("table nested too deep".into());
    }
    let mut last = 0;
    for pair in table.pairs::<Value, Value>() {
        match pair?.0 {
            Value::Integer(key) if key > 0 => last = last.max(key),
            _ => return Err("non-array table found".into()),
        }
    }
    for n in 1..=last {
        match table.raw_get(n)? {
            Value::Table(inner) => flatten(lua, &inner, data, depth - 1)?,
            value @ (Value::String(_) | Value::Integer(_) | Value::Number(_)) => {
                append(lua, &value, data)?;
            }
            other => return Err(format!("bad data type {} found", type_of(&other)).into()),
        }
    }
    Ok(())
}
