//! What the Lua VM of each worker is at: how much memory it has, and which call runs in it.
//!
//! A compiled LuaJIT loop cannot be interrupted, so a plugin that loops holds up its worker. The
//! others serve on; the control thread looks here and tells the operator whose code it is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use crate::pdk::RequestId;

/// How long a call may run before the operator hears of it.
const PATIENCE: Duration = Duration::from_millis(600);
/// How long a call has run at least when the operator hears of it once more.
const AGAIN: Duration = Duration::from_secs(10);
/// How often the control thread looks.
const PERIOD: Duration = Duration::from_millis(200);

/// The VMs of all workers.
#[derive(Debug, Default)]
pub struct Vms(Mutex<Vec<Arc<Place>>>);

/// The VM of one worker.
#[derive(Debug, Default)]
pub struct Place {
    worker: usize,
    bytes: AtomicUsize,
    is_full: AtomicBool,
    call: Mutex<Option<Call>>,
}

/// A call that runs.
#[derive(Debug)]
struct Call {
    /// When the control thread saw it first; reading the clock costs a call too much.
    seen: Option<Instant>,
    plugin: Arc<str>,
    phase: &'static str,
    request: Option<RequestId>,
    /// When the operator hears of it next: each time after twice as long.
    next: Duration,
    is_told: bool,
}

impl Call {
    /// Whether it has run for too long.
    fn is_late(&self) -> bool {
        self.seen.is_some_and(|seen| seen.elapsed() >= PATIENCE)
    }
}

/// A call that is over when this is dropped.
pub struct Running<'a>(&'a Place);

impl Vms {
    fn places(&self) -> MutexGuard<'_, Vec<Arc<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes the VM of one more worker; the first one sends the control thread on its rounds.
    pub fn add(self: &Arc<Self>, worker: usize, control: &Handle) -> Arc<Place> {
        let place = Arc::new(Place { worker, ..Place::default() });
        let mut places = self.places();
        if places.is_empty() {
            let vms = Arc::downgrade(self);
            control.spawn(async move {
                loop {
                    tokio::time::sleep(PERIOD).await;
                    let Some(vms) = vms.upgrade() else { break };
                    vms.look();
                }
            });
        }
        places.push(place.clone());
        place
    }

    fn look(&self) {
        for place in self.places().iter() {
            place.look();
        }
    }

    /// Who holds up each of so many workers, when nobody is left to serve.
    pub fn held_up(&self, workers: usize) -> Option<String> {
        let places = self.places();
        let holders: BTreeSet<_> =
            places.iter().map(|place| place.holder()).collect::<Option<_>>()?;
        if places.len() < workers || holders.is_empty() {
            return None;
        }
        let holders: Vec<_> = holders.iter().map(|holder| format!("'{holder}'")).collect();
        Some(format!("every worker is held up by Lua code: plugin {}", holders.join(", ")))
    }

    /// For `/metrics`; nothing where no worker has a VM.
    pub fn render(&self) -> String {
        let places = self.places();
        let mut text = String::new();
        if !places.is_empty() {
            text += "# HELP silverback_lua_vm_bytes Memory of the Lua VM of a worker\n\
                     # TYPE silverback_lua_vm_bytes gauge\n";
        }
        for place in places.iter() {
            let bytes = place.bytes.load(Ordering::Relaxed);
            let _ =
                writeln!(text, "silverback_lua_vm_bytes{{worker=\"{}\"}} {bytes}", place.worker);
        }
        text
    }
}

impl Place {
    fn call(&self) -> MutexGuard<'_, Option<Call>> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says which call runs from here on, until the answer is dropped.
    pub fn enter(
        &self,
        plugin: &Arc<str>,
        phase: &'static str,
        request: Option<RequestId>,
    ) -> Running<'_> {
        let (plugin, seen) = (plugin.clone(), None);
        *self.call() = Some(Call { seen, plugin, phase, request, next: PATIENCE, is_told: false });
        Running(self)
    }

    /// Says that the VM had no memory left for a call.
    pub fn set_full(&self) {
        self.is_full.store(true, Ordering::Relaxed);
    }

    /// Whether that was so since this was last asked.
    pub fn was_full(&self) -> bool {
        self.is_full.swap(false, Ordering::Relaxed)
    }

    /// Says how much memory the VM has.
    pub fn set_bytes(&self, bytes: usize) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// The plugin whose code has run for too long.
    fn holder(&self) -> Option<Arc<str>> {
        let call = self.call();
        let call = call.as_ref().filter(|call| call.is_late())?;
        Some(call.plugin.clone())
    }

    fn look(&self) {
        let mut call = self.call();
        let Some(call) = call.as_mut() else { return };
        let elapsed = call.seen.get_or_insert_with(Instant::now).elapsed();
        if elapsed < call.next {
            return;
        }
        call.next = elapsed.saturating_mul(2).max(AGAIN);
        call.is_told = true;
        let ms = elapsed.as_millis();
        let (worker, plugin, phase) = (self.worker, &*call.plugin, call.phase);
        let told = "Lua code holds up its worker: other requests of this worker wait";
        match call.request {
            Some(id) => {
                tracing::error!(request_id = %id, worker, plugin, phase, ms, "{told}");
            }
            None => tracing::error!(worker, plugin, phase, ms, "{told}"),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let call = self.0.call().take();
        if let Some(call) = call.filter(|call| call.is_told) {
            let ms = call.seen.map_or(0, |seen| seen.elapsed().as_millis());
            let worker = self.0.worker;
            tracing::warn!(worker, plugin = &*call.plugin, ms, "the worker goes on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_of_again_while_it_lasts_and_forgotten_when_it_ends() {
        let place = Place::default();
        let name: Arc<str> = "loops".into();
        let running = place.enter(&name, "access", None);
        place.look();
        assert!(!place.call().as_ref().unwrap().is_told, "it has just begun");
        place.call().as_mut().unwrap().seen = Instant::now().checked_sub(PATIENCE);
        place.look();
        assert!(place.call().as_ref().unwrap().is_told);
        assert_eq!(place.call().as_ref().unwrap().next, AGAIN);
        place.call().as_mut().unwrap().seen = Instant::now().checked_sub(AGAIN);
        place.look();
        assert!(place.call().as_ref().unwrap().next >= 2 * AGAIN);
        drop(running);
        assert!(place.call().is_none());
    }

    #[test]
    fn nobody_serves_only_when_every_worker_is_held_up() {
        let vms = Vms::default();
        let places = [0, 1].map(|worker| Arc::new(Place { worker, ..Place::default() }));
        vms.places().extend(places.iter().cloned());
        let name: Arc<str> = "loops".into();
        let late = |place: &Place| {
            place.call().as_mut().unwrap().seen = Instant::now().checked_sub(PATIENCE);
        };
        let first = places[0].enter(&name, "access", None);
        late(&places[0]);
        assert_eq!(vms.held_up(2), None, "the other one is idle");
        let _second = places[1].enter(&name, "log", None);
        assert_eq!(vms.held_up(2), None, "the other one has just begun");
        late(&places[1]);
        assert_eq!(vms.held_up(3), None, "one has no Lua at all");
        let told = vms.held_up(2).unwrap();
        assert_eq!(told, "every worker is held up by Lua code: plugin 'loops'");
        drop(first);
        assert_eq!(vms.held_up(2), None);
    }
}
