//! LuaPlugin: a handler.lua behind `trait Plugin`.
//!
//! `access` and its like run as a coroutine that may wait. A plugin that answers the client stores
//! the answer and then waits for ever; the driver sees that and drops the coroutine, so that no
//! `pcall` of the plugin can hold it up (Kong yields and never resumes, to the same end).

mod conf;
pub mod counting;
pub mod fields;
mod runner;
mod version;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use mlua::{Function, Lua, LuaString, Table, Value as LuaValue};

use self::runner::Runner;
use self::version::plain_version;
use super::ngx;
use super::owner::Owner;
use super::schema::sets;
use super::state::{Running, State};
use super::{NO_TABLE, Options, Vm, json, limit, modules, phase};
use crate::chain;
use crate::distance::distance;
use crate::entity::PluginEntity;
use crate::pdk::{Chunk, Exchange, Handshake};
use crate::plugin::{Outcome, Phases, Plugin, Step, Stop};
use crate::schema::Record;
use crate::vms::Place;

/// A handler.lua, loaded once in a VM.
pub struct Handler {
    vm: Vm,
    /// Where its calls are noted, for whoever looks after stuck workers.
    place: Option<Arc<Place>>,
    name: Arc<str>,
    table: Table,
    /// Greater runs earlier.
    pub priority: i64,
    /// `x.y.z`.
    pub version: String,
    /// What its author should know: one line each.
    pub notes: Vec<String>,
    phases: Phases,
    /// What calls each phase that it has, with a configuration.
    calls: Vec<(&'static str, Function)>,
    /// Knows which lists of a config are sets; `None` if there is no schema to say so.
    schema: Option<Record>,
}

/// A handler with the configuration of one plugin entity.
pub struct LuaPlugin {
    handler: Rc<Handler>,
    runner: Runner,
    /// The same table on every request: plugins key caches on it.
    conf: Table,
    phases: Phases,
}

/// The phases a handler may have here.
const PHASES: [(&str, Phases); 7] = [
    ("certificate", Phases::CERTIFICATE),
    ("rewrite", Phases::REWRITE),
    ("access", Phases::ACCESS),
    ("response", Phases::RESPONSE),
    ("header_filter", Phases::HEADER_FILTER),
    ("body_filter", Phases::BODY_FILTER.and(Phases::MAY_FAIL)),
    ("log", Phases::LOG.and(Phases::RECORD)),
];

/// What a handler may have beside them.
const ONCE: [&str; 2] = ["init_worker", "configure"];

/// Kong Enterprise's phases for the frames of WebSocket.
const FRAMES: [&str; 4] = ["ws_handshake", "ws_client_frame", "ws_upstream_frame", "ws_close"];

impl Handler {
    /// Loads a plugin's handler.
    ///
    /// # Errors
    /// It is not there, does not run, or lacks what Kong demands of it, in Kong's words.
    pub fn load(vm: &Vm, name: &str) -> Result<Rc<Self>, String> {
        let module = format!("kong.plugins.{name}.handler");
        let table = phase::during(vm.lua(), "init", None, || vm.require_table(&module))
            .map_err(|error| not_loaded(vm, name, &module, &error))?;
        let refuse = |what: &str, got: LuaValue| {
            let got = got.to_string().unwrap_or_default();
            format!("Plugin \"{name}\" cannot be loaded because its {what}, got: \"{got}\"")
        };
        let field = |key: &str| table.get::<LuaValue>(key).unwrap_or(LuaValue::Nil);
        let priority = match field("PRIORITY") {
            LuaValue::Integer(priority) => priority,
            got => return Err(refuse("PRIORITY field is not a valid integer number", got)),
        };
        let version = field("VERSION").as_string().map(LuaString::to_string_lossy);
        let version = version.as_deref().and_then(plain_version).ok_or_else(|| {
            refuse("VERSION field does not follow the \"x.y.z\" format", field("VERSION"))
        })?;
        let phases = PHASES
            .into_iter()
            .filter(|(phase, _)| field(phase).is_function())
            .fold(Phases::NONE, |phases, (_, phase)| phases.and(phase));
        let filters = phases.has(Phases::HEADER_FILTER) || phases.has(Phases::BODY_FILTER);
        if phases.has(Phases::RESPONSE) && filters {
            return Err(format!(
                "Plugin \"{name}\" can't be loaded because it implements both `response` and \
                 `header_filter` or `body_filter` methods."
            ));
        }
        let mut notes = Vec::new();
        let frames = FRAMES.into_iter().find(|phase| field(phase).is_function());
        match frames {
            Some(phase) if phases == Phases::NONE => {
                return Err(format!(
                    "Plugin \"{name}\" cannot be loaded because it implements nothing but \
                     `{phase}` and its likes, which are Kong Enterprise's: they are not run here"
                ));
            }
            Some(phase) => notes.push(format!(
                "plugin '{name}': `{phase}` is Kong Enterprise's: it does not run here"
            )),
            None => {}
        }
        notes.extend(notes_of(name, &table, phases));
        let schema = sets::schema_of(vm, name);
        let calls = calls(vm.lua(), &table, phases).map_err(|error| error.to_string())?;
        Ok(Rc::new(Self {
            vm: vm.clone(),
            place: Options::of_vm(vm.lua()).ok().and_then(|options| options.place.clone()),
            name: name.into(),
            table,
            priority,
            version,
            notes,
            phases,
            calls,
            schema,
        }))
    }

    /// Runs `init_worker`, if there is one. Once for each VM that serves.
    ///
    /// # Errors
    /// Lua's message: Kong logs it and goes on.
    pub fn init_worker(&self) -> Result<(), String> {
        self.run_once("init_worker", ())
    }

    /// Runs `configure`, if there is one, with the configurations in use; nil if there are none.
    ///
    /// # Errors
    /// Lua's message: Kong logs it and goes on.
    pub fn configure(&self, instances: &[&LuaPlugin]) -> Result<(), String> {
        let confs: Vec<_> = instances.iter().map(|instance| instance.conf.clone()).collect();
        self.run_once("configure", (!confs.is_empty()).then_some(confs))
    }

    fn run_once(&self, phase: &'static str, args: impl mlua::IntoLuaMulti) -> Result<(), String> {
        let run = || match self.table.get::<Option<Function>>(phase)? {
            Some(function) => function.bind(self.table.clone())?.call::<()>(args),
            None => Ok(()),
        };
        let running = Running { id: uuid::Uuid::nil(), name: self.name.clone() };
        let _running = self.place.as_ref().map(|place| place.enter(&self.name, phase, None));
        phase::during(self.vm.lua(), "init_worker", Some(running), run)
            .map_err(|error: mlua::Error| modules::told(&error.to_string()))
    }

    /// The handler with a configuration.
    ///
    /// # Errors
    /// The configuration does not fit into the VM.
    pub fn instance(self: &Rc<Self>, entity: &PluginEntity) -> Result<LuaPlugin, String> {
        let conf = self.conf(entity).map_err(|error| error.to_string())?;
        let phases = self.phases_of(&conf).map_err(|error| error.to_string())?;
        let runner = Runner::new(&self.vm, entity);
        Ok(LuaPlugin { handler: self.clone(), runner, conf, phases })
    }

    /// The phases that a configuration makes use of. A handler of ours that knows has a function
    /// `__phases`; for the others it is every phase that they implement.
    fn phases_of(&self, conf: &Table) -> mlua::Result<Phases> {
        let Some(names) = self.table.get::<Option<Function>>("__phases")? else {
            return Ok(self.phases);
        };
        let names: Vec<String> = names.call((&self.table, conf))?;
        let known = PHASES.into_iter().filter(|(name, _)| names.iter().any(|used| used == name));
        Ok(known.fold(Phases::NONE, |phases, (_, phase)| phases.and(phase)))
    }
}

/// LuaJIT's word for a VM that is full: then nothing else can be asked of it.
const NO_MEMORY: &str = "not enough memory";

/// Why a handler could not be loaded, in Kong's words where it is not there or fails.
fn not_loaded(vm: &Vm, name: &str, module: &str, error: &str) -> String {
    if error.contains(NO_MEMORY) {
        format!("error loading module '{module}':\n{error} (silverback_lua_vm_memory is the limit)")
    } else if !vm.has_module(module) {
        format!("{name} plugin is enabled but not installed;\n{error}")
    } else if error.ends_with(NO_TABLE) {
        error.to_owned()
    } else {
        format!("error loading module '{module}':\n{error}")
    }
}

/// What the author of a handler should know: functions whose names are nearly those of phases, and
/// that nothing of it runs here.
fn notes_of(name: &str, table: &Table, phases: Phases) -> Vec<String> {
    let is_there = |name: &str| table.get::<LuaValue>(name).is_ok_and(|value| value.is_function());
    let all = || PHASES.iter().map(|(name, _)| *name).chain(ONCE);
    let missing: Vec<_> = all().filter(|phase| !is_there(phase)).collect();
    let own = table.pairs::<String, LuaValue>().flatten();
    let own = own.filter(|(own, value)| value.is_function() && !all().any(|phase| phase == own));
    let near = |own: String| {
        let meant = missing.iter().map(|phase| (distance(&own, phase), *phase)).min()?;
        // Of a short name, such as `log`, too much else is near.
        let limit = if meant.1.len() < 6 { 1 } else { 2 };
        let (_, phase) = Some(meant).filter(|(distance, _)| *distance <= limit)?;
        Some(format!("plugin '{name}': '{own}' is no phase (did you mean '{phase}'?)"))
    };
    let mut notes: Vec<_> = own.filter_map(|(own, _)| near(own)).collect();
    notes.sort();
    if phases == Phases::NONE && !ONCE.into_iter().any(is_there) {
        notes.push(format!("plugin '{name}' has no phase that runs here"));
    }
    notes
}

/// Functions that call the phases of a handler. It may put others in their places while it runs, so
/// each looks its own up; in Lua, where that costs little.
fn calls(
    lua: &Lua,
    handler: &Table,
    phases: Phases,
) -> mlua::Result<Vec<(&'static str, Function)>> {
    let code = "local handler, phase = ...
        return function(conf) return handler[phase](handler, conf) end";
    let code = lua.load(code).set_name("=handler").into_function()?;
    let of = |(name, _)| Ok((name, code.call((handler, name))?));
    PHASES.into_iter().filter(|(_, phase)| phases.has(*phase)).map(of).collect()
}

impl Plugin for LuaPlugin {
    fn phases(&self) -> Phases {
        self.phases.and(Phases::ASKS_ALL)
    }

    fn certificate<'a>(&'a self, handshake: &'a Rc<Handshake>) -> Step<'a> {
        Step::wait(async move {
            let fault = |error: mlua::Error| self.runner.fault(&error);
            self.shake(handshake).await.map_err(|error| error.map_or(Stop::Exit, fault))
        })
    }

    fn rewrite<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(self.drive("rewrite", ex))
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(self.drive("access", ex))
    }

    fn response<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(self.drive("response", ex))
    }

    fn header_filter(&self, ex: &Exchange) -> Outcome {
        self.call("header_filter", ex)
    }

    fn body_filter(&self, ex: &Exchange, chunk: &mut Chunk) -> Outcome {
        self.filter(ex, chunk).map_err(|error| self.runner.fault(&error))
    }

    fn log(&self, ex: &Exchange) {
        if let Err(Stop::Fault(fault)) = self.call("log", ex) {
            chain::report(ex, &self.runner.running.name, &fault);
        }
    }
}

impl LuaPlugin {
    /// What runs a phase, and the exchange's state, which knows from here on whose code runs.
    fn enter(&self, phase: &str, ex: &Exchange) -> mlua::Result<(&Function, Rc<State>)> {
        let state = self.runner.enter(ex)?;
        let known = self.handler.calls.iter().find(|(name, _)| *name == phase);
        let (_, call) = known.ok_or_else(|| mlua::Error::runtime("no such phase"))?;
        Ok((call, state))
    }

    /// Runs `certificate` on a client's handshake. Without an error it is the plugin that does not
    /// want the handshake (`ngx.exit`).
    async fn shake(&self, handshake: &Rc<Handshake>) -> Result<(), Option<mlua::Error>> {
        const PHASE: &str = "certificate";
        let spaces = handshake.spaces(|| Rc::<Owner>::default());
        let owner = spaces.downcast::<Owner>().unwrap_or_default();
        let function: Function = self.handler.table.get(PHASE)?;
        let call = function.call_async::<()>((&self.handler.table, &self.conf));
        let call = owner.clone().thread(Owner::holding(call));
        let call = phase::shaking(handshake.clone(), self.runner.running.clone(), call);
        let mut call = pin!(call);
        let ended = poll_fn(|cx| {
            let _running = self.runner.note(PHASE, None);
            call.as_mut().poll(cx)
        });
        match (ended.await, owner.said()) {
            (Some(ended), _) => ended.map_err(Some),
            (None, Some(code)) if !(0.0..300.0).contains(&code) => Err(None),
            (None, _) => Ok(()),
        }
    }

    /// Runs a phase that may wait, to its end or to the plugin's answer.
    async fn drive(&self, phase: &'static str, ex: &Exchange) -> Outcome {
        let entered = self.enter(phase, ex);
        let (function, state) = entered.map_err(|error| self.runner.fault(&error))?;
        let call = limit::off(self.handler.vm.lua(), || function.call_async::<()>(&self.conf));
        self.runner.drive(phase, ex, &state, call).await.map(drop)
    }

    /// Runs a phase that may not wait.
    fn call(&self, phase: &'static str, ex: &Exchange) -> Outcome {
        let run = || {
            let (function, _) = self.enter(phase, ex)?;
            let _running = self.runner.note(phase, Some(ex.id));
            function.call::<()>(&self.conf)
        };
        run().map_err(|error| self.runner.fault(&error))
    }

    /// `body_filter` sees a piece of the body as `ngx.arg[1]` and the end as `ngx.arg[2]`, and
    /// changes them there.
    fn filter(&self, ex: &Exchange, chunk: &mut Chunk) -> mlua::Result<()> {
        let lua = self.handler.vm.lua();
        let arg = ngx::arg(lua)?;
        let before = lua.create_string(&chunk.data)?;
        arg.raw_set(1, &before)?;
        arg.raw_set(2, chunk.last)?;
        let (function, _) = self.enter("body_filter", ex)?;
        let running = self.runner.note("body_filter", Some(ex.id));
        let ran = function.call::<()>(&self.conf);
        drop(running);
        let (after, last): (LuaValue, LuaValue) = (arg.raw_get(1)?, arg.raw_get(2)?);
        // The next exchange must not find it there.
        arg.raw_set(1, LuaValue::Nil)?;
        arg.raw_set(2, LuaValue::Nil)?;
        ran?;
        // A plugin may say that this piece is the last (`kong.response.set_raw_body` does).
        chunk.last |= last == LuaValue::Boolean(true);
        match after {
            LuaValue::String(after) if after == before => {}
            LuaValue::String(after) => chunk.data = Bytes::copy_from_slice(&after.as_bytes()),
            _ => chunk.data = Bytes::new(),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
