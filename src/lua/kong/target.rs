//! Where a request goes and who sent it: Upstreams, limits, retries, consumers.

use std::rc::{Rc, Weak};

use mlua::{Function, Lua, MultiValue, Table, Value};
use uuid::Uuid;

use super::value::{self, one};
use super::{Phases, Row};
use crate::lua::bind::{Answer, Fault};
use crate::lua::state::{Running, State};
use crate::lua::{json, state};
use crate::pdk::client::{Credential, Id, Named};
use crate::pdk::{Attempts, Exchange, Loss, Lost, Next, Phase};
use crate::plugin::{Step, Stop};
use crate::respond::{self, Failure};

pub(super) const ROWS: &[Row] = &[
    Row::now("service.set_upstream", Phases::ACCESS, |lua, ex, mut args| {
        let name = value::utf8(&mut args, "host must be a string")?;
        if !ex.entities.get().is_some_and(|entities| entities.has_upstream(&name)) {
            let told = format!("could not find an Upstream named '{name}'");
            return one(lua, (Value::Nil, told));
        }
        ex.service.balance(name.into());
        one(lua, true)
    }),
    Row::now("service.set_retries", Phases::ACCESS, |lua, ex, mut args| {
        let retries = whole(args.pop_front(), "retries", 0, 32_767)?;
        let mut limits = ex.service.limits.get();
        limits.retries = u32::try_from(retries).unwrap_or_default();
        ex.service.limits.set(limits);
        one(lua, ())
    }),
    Row::now("service.set_timeouts", Phases::ACCESS, |lua, ex, mut args| {
        let mut next = |name: &str| whole(args.pop_front(), name, 1, 2_147_483_646);
        let mut limits = ex.service.limits.get();
        limits.connect_ms = next("connect_timeout")?;
        limits.write_ms = next("write_timeout")?;
        limits.read_ms = next("read_timeout")?;
        ex.service.limits.set(limits);
        one(lua, ())
    }),
    Row::now("service.set_target_retry_callback", Phases::ACCESS, set_target_retry_callback),
    Row::now("client.load_consumer", Phases::ROUTED, load_consumer),
    Row::now("client.authenticate", Phases::ACCESS, authenticate),
];

/// A whole number within limits, in Kong's words.
fn whole(value: Option<Value>, name: &str, least: u64, most: u64) -> Result<u64, Fault> {
    let number = match value {
        Some(Value::Integer(number)) => number,
        Some(Value::Number(number)) if number.fract() == 0.0 => number as i64,
        _ => return Err(format!("{name} must be an integer").into()),
    };
    match u64::try_from(number) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => {
            let given = value::shown(&Value::Integer(number))?;
            Err(format!("{name} must be an integer between {least} and {most}: given {given}")
                .into())
        }
    }
}

/// Of Lua's callbacks the last counts (Kong). A native plugin that drives the attempts knows
/// better.
fn set_target_retry_callback(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let Some(Value::Function(callback)) = args.pop_front() else {
        return Err("retry_callback must be a function".into());
    };
    let state = state::of(lua, ex);
    let kept = state.retries.borrow().clone();
    let is_mine = |driver: &Rc<dyn Attempts>| {
        kept.is_some_and(|kept| std::ptr::addr_eq(Rc::as_ptr(&kept), Rc::as_ptr(driver)))
    };
    if ex.service.attempts().is_none_or(|driver| is_mine(&driver)) {
        let retries =
            Rc::new(Retries { callback, state: Rc::downgrade(&state), running: state.running() });
        *state.retries.borrow_mut() = Some(retries.clone());
        ex.service.drive(retries);
    }
    one(lua, ())
}

/// A function that chooses another target ahead of each retry.
pub(in crate::lua) struct Retries {
    callback: Function,
    state: Weak<State>,
    /// Whose function it is.
    running: Option<Running>,
}

impl Retries {
    /// Calls the function as Kong's balancer does, in a phase of its own.
    fn call(&self, ex: &Exchange) -> Result<(), String> {
        if let (Some(state), Some(running)) = (self.state.upgrade(), &self.running) {
            state.enter(running);
        }
        let before = ex.phase();
        ex.enter(Phase::Balancer);
        let answer = self.callback.call::<(Value, Value)>(());
        ex.enter(before);
        match answer.map_err(|error| error.to_string())? {
            (Value::Boolean(false) | Value::Nil, error) => {
                Err(error.to_string().unwrap_or_default())
            }
            _ => Ok(()),
        }
    }
}

impl Attempts for Retries {
    fn before<'a>(&'a self, ex: &'a Exchange, n: u32) -> Step<'a> {
        if n == 1 {
            return Step::DONE;
        }
        Step::Done(self.call(ex).map_err(|error| {
            tracing::error!(request_id = %ex.id, "retry handler failed: {error}");
            respond::fail(ex, Failure::Unavailable);
            Stop::Exit
        }))
    }

    fn answered<'a>(
        &'a self,
        _: &'a Exchange,
        _: u32,
        _: http::StatusCode,
        _: &'a http::HeaderMap,
    ) -> Next {
        Next::Accept
    }

    /// nginx' rule, as without a callback. A name without an address ends the request (Kong).
    fn failed(&self, ex: &Exchange, n: u32, lost: Lost) -> Next {
        if lost.how == Loss::NoAddress {
            return Next::Accept;
        }
        let idempotent = !matches!(ex.request.method, http::Method::POST | http::Method::PATCH);
        let again = n <= ex.service.limits.get().retries && (lost.unsent || idempotent);
        if again { Next::Again } else { Next::Accept }
    }
}

fn load_consumer(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let name = value::utf8(&mut args, "consumer_id must be a string")?;
    let by_username =
        args.pop_front().is_some_and(|flag| flag.as_boolean() != Some(false) && !flag.is_nil());
    let is_id = Uuid::parse_str(&name).is_ok();
    if !is_id && !by_username {
        return Err("cannot load a consumer with an id that is not a uuid".into());
    }
    let consumer = ex.entities.get().and_then(|entities| entities.consumer(&name));
    let consumer = consumer.filter(|consumer| by_username || consumer.id.to_string() == name);
    one(lua, consumer.map(|consumer| json::entity(lua, &consumer.json)).transpose()?)
}

/// An id in a table of a plugin's own: a text, or a number that stands for one.
fn id(table: &Table, name: &str) -> mlua::Result<Option<Id>> {
    Ok(match table.get::<Value>(name)? {
        Value::String(id) => Some(Id::read(&id.to_string_lossy())),
        id @ (Value::Integer(_) | Value::Number(_)) => Some(Id::read(&id.to_string()?)),
        _ => None,
    })
}

/// The consumer of the configuration that has this id, or a stranger.
fn named(ex: &Exchange, id: Option<Id>) -> Named {
    let Some(Id::Known(known)) = id else { return Named::Stranger(id) };
    let entities = ex.entities.get();
    let found = entities.and_then(|entities| entities.consumer(&known.to_string()));
    found.map_or(Named::Stranger(id), Named::Consumer)
}

/// Names the client for the plugins that follow. Kong's function sends no header; plugins do.
fn authenticate(lua: &Lua, ex: &Exchange, mut args: MultiValue) -> Answer {
    let mut table = |name: &str| match args.pop_front() {
        None | Some(Value::Nil) => Ok(None),
        Some(Value::Table(table)) => Ok(Some(table)),
        Some(_) => Err(Fault::from(format!("{name} must be a table or nil"))),
    };
    let (consumer, credential) = (table("consumer")?, table("credential")?);
    if consumer.is_none() && credential.is_none() {
        return Err("either credential or consumer must be provided".into());
    }
    introduce_consumer(lua, ex, consumer)?;
    introduce_credential(lua, ex, credential.map_or(Value::Nil, Value::Table))?;
    one(lua, ())
}

/// The consumer, as plugins see it.
pub(in crate::lua) fn consumer(lua: &Lua, ex: &Exchange) -> mlua::Result<Value> {
    if let Some(table) = &*state::of(lua, ex).consumer.borrow() {
        return Ok(Value::Table(table.clone()));
    }
    let consumer = ex.client.consumer();
    consumer.map_or(Ok(Value::Nil), |consumer| json::entity(lua, &consumer.json))
}

/// The credential, as plugins see it.
pub(in crate::lua) fn credential(lua: &Lua, ex: &Exchange) -> mlua::Result<Value> {
    if let Some(given) = &*state::of(lua, ex).credential.borrow() {
        return Ok(given.clone());
    }
    let Some(credential) = ex.client.credential() else { return Ok(Value::Nil) };
    let entity = serde_json::json!({
        "id": credential.id.map(|id| id.to_string()),
        "consumer": { "id": credential.consumer_id.map(|id| id.to_string()) },
    });
    json::entity(lua, &entity)
}

/// Says who the consumer is; the credential stays.
pub(in crate::lua) fn introduce_consumer(
    lua: &Lua,
    ex: &Exchange,
    consumer: Option<Table>,
) -> mlua::Result<()> {
    let named = match &consumer {
        Some(table) => named(ex, id(table, "id")?),
        None => Named::Nobody,
    };
    ex.client.set(named, ex.client.credential());
    *state::of(lua, ex).consumer.borrow_mut() = consumer;
    Ok(())
}

/// Says what the credential is; the consumer stays.
pub(in crate::lua) fn introduce_credential(
    lua: &Lua,
    ex: &Exchange,
    credential: Value,
) -> mlua::Result<()> {
    let known = match &credential {
        Value::Table(table) => Some(Credential {
            id: id(table, "id")?,
            identifier: None,
            consumer_id: id(table, "consumer_id")?,
        }),
        Value::Nil => None,
        // Plugins set a text, too, to say that there is one.
        _ => Some(Credential { id: None, identifier: None, consumer_id: None }),
    };
    let credential = Some(credential).filter(|credential| !credential.is_nil());
    ex.client.set(ex.client.named(), known);
    *state::of(lua, ex).credential.borrow_mut() = credential;
    Ok(())
}
