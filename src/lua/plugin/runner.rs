//! Runs code of a plugin: as whom, in which VM, and to which end.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::anyhow;

use super::super::ngx::{Light, output};
use super::super::owner::Owner;
use super::super::state::{self, Running, State, Verdict};
use super::super::{Options, Vm, modules};
use super::NO_MEMORY;
use crate::entity::PluginEntity;
use crate::pdk::{Exchange, RequestId};
use crate::plugin::{Outcome, Stop};
use crate::vms::{self, Place};

/// Whoever's code it is, and where it runs.
pub(super) struct Runner {
    pub(super) vm: Vm,
    /// Where its calls are noted, for whoever looks after stuck workers.
    place: Option<Arc<Place>>,
    pub(super) running: Running,
}

impl Runner {
    /// For the code of a plugin entity.
    pub(super) fn new(vm: &Vm, entity: &PluginEntity) -> Self {
        let place = Options::of_vm(vm.lua()).ok().and_then(|options| options.place.clone());
        let running = Running { id: entity.id, name: entity.name.as_str().into() };
        Self { vm: vm.clone(), place, running }
    }

    /// The state of an exchange, which knows from here on whose code runs.
    pub(super) fn enter(&self, ex: &Exchange) -> mlua::Result<Rc<State>> {
        let lua = self.vm.lua();
        if self.place.as_ref().is_some_and(|place| place.was_full()) {
            // LuaJIT does not collect by itself when it finds no memory.
            lua.gc_collect()?;
        }
        let state = state::of(lua, ex);
        state.enter(&self.running);
        Ok(state)
    }

    /// Notes that its code runs, until the answer is dropped.
    pub(super) fn note(
        &self,
        phase: &'static str,
        id: Option<RequestId>,
    ) -> Option<vms::Running<'_>> {
        let place = self.place.as_ref()?;
        place.set_bytes(self.vm.lua().used_memory());
        Some(place.enter(&self.running.name, phase, id))
    }

    /// An error for the operator: who has no memory is told where there is more.
    pub(super) fn fault(&self, error: &mlua::Error) -> Stop {
        Stop::Fault(self.told(error))
    }

    fn told(&self, error: &mlua::Error) -> anyhow::Error {
        let is_memory = error.to_string().contains(NO_MEMORY);
        if let (true, Some(place)) = (is_memory, &self.place) {
            place.set_full();
        }
        let error = modules::told(&error.to_string());
        let options = Options::of_vm(self.vm.lua());
        match options.map_or(0, |options| options.memory_limit_bytes) {
            limit if limit > 0 && is_memory => {
                let mib = limit >> 20;
                anyhow!("{error}\nthe Lua VM of a worker has {mib} MiB: silverback_lua_vm_memory")
            }
            _ => anyhow!("{error}"),
        }
    }

    /// Runs code that may wait, to its end or to its answer; `None` if it leaves the phase without
    /// a result.
    pub(super) async fn drive<T>(
        &self,
        phase: &'static str,
        ex: &Exchange,
        state: &State,
        call: impl Future<Output = mlua::Result<T>>,
    ) -> Result<Option<T>, Stop> {
        let mut call = pin!(Owner::holding(call));
        let mut poll = |cx: &mut Context<'_>| {
            let _running = self.note(phase, Some(ex.id));
            call.as_mut().poll(cx)
        };
        let threads = Threads(state);
        let mut outcome = loop {
            let mut told = pin!(state.told());
            let ended = poll_fn(|cx| match (poll(cx), state.verdict()) {
                (Poll::Ready(result), None) => {
                    let result = result.map(Some).map_err(|error| self.fault(&error));
                    Poll::Ready(Some(result))
                }
                (_, Some(verdict)) => Poll::Ready(Some(outcome_of(verdict).map(|()| None))),
                (Poll::Pending, None) => told.as_mut().poll(cx).map(|()| None),
            });
            if let Some(outcome) = ended.await {
                break outcome;
            }
        };
        // nginx leaves a phase when all of its light threads are done; `ngx.exit` and an error end
        // them.
        if !ex.response.is_last_word.get() && !matches!(outcome, Err(Stop::Fault(_))) {
            let ended = threads.wait().await;
            outcome = outcome.and_then(|result| ended.map(|()| result));
        }
        drop(threads);
        if outcome.is_ok() && state.printed.borrow().is_some() {
            output::answer_printed(ex, state);
            return Err(Stop::Exit);
        }
        outcome
    }
}

/// The light threads of a phase. They end with it, also when the client has gone.
struct Threads<'a>(&'a State);

impl Threads<'_> {
    /// Waits for all of them, or until one ends the plugin.
    async fn wait(&self) -> Outcome {
        loop {
            if let Some(verdict) = self.0.verdict() {
                return outcome_of(verdict);
            }
            let Some(light) = self.0.threads.borrow().last().cloned() else { return Ok(()) };
            tokio::select! {
                () = light.over() => {
                    self.0.threads.borrow_mut().retain(|other| !Rc::ptr_eq(other, &light));
                }
                () = self.0.told() => {}
            }
        }
    }

    fn next(&self) -> Option<Rc<Light>> {
        self.0.threads.borrow_mut().pop()
    }
}

fn outcome_of(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Exited => Err(Stop::Exit),
        Verdict::Ended => Ok(()),
        Verdict::Failed(told) => Err(Stop::Fault(anyhow!("{told}"))),
    }
}

impl Drop for Threads<'_> {
    fn drop(&mut self) {
        while let Some(light) = self.next() {
            light.stop();
        }
    }
}
