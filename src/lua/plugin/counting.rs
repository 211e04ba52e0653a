//! Lua code of a configuration that counts something for a native plugin.

use mlua::{Function, LuaString, Table, Value};

use super::super::{Vm, limit};
use super::runner::Runner;
use crate::entity::PluginEntity;
use crate::pdk::Exchange;
use crate::plugin::{Count, Counting, Stop, Uncounted};

/// More than anybody counts: sums of such numbers are still exact, or nearly.
const COUNT_MAX: f64 = 1e15;

/// The code, in the VM of a worker.
pub struct CountingCode {
    runner: Runner,
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
        Ok(Self { runner: Runner::new(vm, entity), code, count })
    }

    fn failed(&self, error: &mlua::Error) -> Uncounted {
        uncounted(self.runner.fault(error))
    }
}

impl Counting for CountingCode {
    fn ask<'a>(&'a self, ex: &'a Exchange, phase: &'static str) -> Count<'a> {
        Box::pin(async move {
            let state = self.runner.enter(ex).map_err(|error| self.failed(&error))?;
            let lua = self.runner.vm.lua();
            let call = limit::off(lua, || self.count.call_async::<Value>(&self.code));
            let value = self.runner.drive(phase, ex, &state, call).await.map_err(uncounted)?;
            number(&value.unwrap_or(Value::Nil))
        })
    }

    fn ask_at_once(&self, ex: &Exchange, phase: &'static str) -> Result<f64, Uncounted> {
        self.runner.enter(ex).map_err(|error| self.failed(&error))?;
        let _running = self.runner.note(phase, Some(ex.id));
        number(&self.count.call(&self.code).map_err(|error| self.failed(&error))?)
    }
}

fn uncounted(stop: Stop) -> Uncounted {
    match stop {
        Stop::Exit => Uncounted::Answered,
        Stop::Fault(fault) => Uncounted::Failed(format!("{fault:#}")),
    }
}

/// What may come from a client is a number, too, and would lift a limit or shut others out.
fn number(value: &Value) -> Result<f64, Uncounted> {
    let number = match value {
        Value::Integer(number) => *number as f64,
        Value::Number(number) => *number,
        other => return Err(Uncounted::NoCount(other.type_name().to_owned())),
    };
    match (0.0..=COUNT_MAX).contains(&number) {
        true => Ok(number),
        false => Err(Uncounted::NoCount(number.to_string())),
    }
}
