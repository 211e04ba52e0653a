//! Lua code of a configuration that counts something for a native plugin.

use std::rc::Rc;
use std::sync::Arc;

use mlua::{Function, LuaString, Table, Value};

use super::{Options, Owner, Place, Running, State, Vm, driven, limit, noted, state};
use crate::entity::PluginEntity;
use crate::pdk::{Exchange, RequestId};
use crate::plugin::{Count, Counting, Stop, Uncounted};
use crate::vms;

/// The code, in the VM of a worker.
pub struct CountingCode {
    vm: Vm,
    place: Option<Arc<Place>>,
    running: Running,
    code: LuaString,
    count: Function,
}

impl CountingCode {
    /// Code of a plugin's configuration; its schema has seen that it compiles.
    ///
    /// # Errors
    /// Lua's message, if it does not fit into the VM.
    pub fn new(vm: &Vm, entity: &PluginEntity, code: &str) -> Result<Self, String> {
        let make = || -> mlua::Result<(LuaString, Function)> {
            let count = vm.require::<Table>("silverback.counting")?.get("count")?;
            Ok((vm.lua().create_string(code)?, count))
        };
        let (code, count) = make().map_err(|error| error.to_string())?;
        let running = Running { id: entity.id, name: entity.name.as_str().into() };
        let place = Options::of_vm(vm.lua()).ok().and_then(|options| options.place.clone());
        Ok(Self { vm: vm.clone(), place, running, code, count })
    }

    fn note(&self, phase: &'static str, id: RequestId) -> Option<vms::Running<'_>> {
        Some(noted(self.place.as_ref()?, &self.vm, &self.running, phase, Some(id)))
    }

    fn enter(&self, ex: &Exchange) -> mlua::Result<Rc<State>> {
        let state = state::of(self.vm.lua(), ex)?;
        state.enter(&self.running);
        Ok(state)
    }
}

impl Counting for CountingCode {
    fn ask<'a>(&'a self, ex: &'a Exchange, phase: &'static str) -> Count<'a> {
        Box::pin(async move {
            let state = self.enter(ex).map_err(failed)?;
            let call = limit::off(self.vm.lua(), || self.count.call_async::<Value>(&self.code));
            let note = || self.note(phase, ex.id);
            match driven(&state, Owner::holding(call), note, stop).await {
                Ok(value) => number(&value.unwrap_or(Value::Nil)),
                Err(Stop::Exit) => Err(Uncounted::Answered),
                Err(Stop::Fault(fault)) => Err(Uncounted::Failed(format!("{fault:#}"))),
            }
        })
    }

    fn ask_at_once(&self, ex: &Exchange, phase: &'static str) -> Result<f64, Uncounted> {
        self.enter(ex).map_err(failed)?;
        let _running = self.note(phase, ex.id);
        number(&self.count.call(&self.code).map_err(failed)?)
    }
}

fn stop(error: mlua::Error) -> Stop {
    Stop::Fault(anyhow::anyhow!("{error}"))
}

fn failed(error: mlua::Error) -> Uncounted {
    Uncounted::Failed(error.to_string())
}

fn number(value: &Value) -> Result<f64, Uncounted> {
    match value {
        Value::Integer(number) => Ok(*number as f64),
        Value::Number(number) if number.is_finite() => Ok(*number),
        other => Err(Uncounted::NoNumber(other.type_name())),
    }
}
