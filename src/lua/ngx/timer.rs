//! `ngx.timer`, `ngx.thread`, and what `ngx.semaphore` stands on: code that runs beside a request.
//!
//! Everything runs on the worker's own thread. A timer has no request; a light thread has the one
//! of its maker.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mlua::{AnyUserData, Function, Lua, MultiValue, Table, Thread, UserData, Value};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::{context, number, one};
use crate::lua::bind::{self, Answer, Fault};
use crate::lua::owner::Owner;
use crate::lua::{Options, limit, state};
use crate::pdk;

/// Timers that may wait at a time (Kong's `lua_max_pending_timers`).
const PENDING: usize = 16_384;
/// Timers that may run at a time (Kong's `lua_max_running_timers`).
const RUNNING: usize = 4096;

/// How many timers of a VM wait and run, and whether its worker ends.
#[derive(Default)]
pub(in crate::lua) struct Counts {
    pending: Cell<usize>,
    running: Cell<usize>,
    /// Timers that were ever set, for their names.
    begun: Cell<u64>,
    exiting: Cell<bool>,
    exit: Notify,
}

impl Counts {
    /// Those of a VM.
    pub(in crate::lua) fn of(lua: &Lua) -> Option<Rc<Self>> {
        lua.app_data_ref::<Rc<Self>>().map(|counts| Rc::clone(&counts))
    }

    /// The worker ends: timers that wait run now, and are told so (OpenResty).
    pub(in crate::lua) fn end(&self) {
        self.exiting.set(true);
        self.exit.notify_waiters();
    }

    /// Whether the worker ends.
    pub(in crate::lua) fn is_exiting(&self) -> bool {
        self.exiting.get()
    }

    /// Timers that run, and those that are about to.
    pub(in crate::lua) fn busy(&self) -> usize {
        self.running.get() + self.pending.get()
    }

    /// Waits so long, or until the worker ends; true in that case.
    async fn wait(&self, delay: Duration) -> bool {
        let exit = self.exit.notified();
        if self.is_exiting() {
            return true;
        }
        if delay.is_zero() {
            // The clock's next tick would be up to a millisecond away, and a request may be sooner.
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => false,
            () = exit => true,
        }
    }
}

/// Counts while it lives.
struct Counted(Rc<Counts>, fn(&Counts) -> &Cell<usize>);

impl Counted {
    fn new(counts: &Rc<Counts>, which: fn(&Counts) -> &Cell<usize>) -> Self {
        let cell = which(counts);
        cell.set(cell.get() + 1);
        Self(counts.clone(), which)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let cell = (self.1)(&self.0);
        cell.set(cell.get().saturating_sub(1));
    }
}

pub(super) fn install(lua: &Lua, ngx: &Table) -> mlua::Result<()> {
    let counts: Rc<Counts> = Rc::default();
    lua.set_app_data(counts.clone());
    let timer = lua.create_table()?;
    for (name, repeats) in [("at", false), ("every", true)] {
        let counts = counts.clone();
        let call = move |lua: &Lua, args: MultiValue| start(lua, &counts, args, repeats);
        timer.set(name, bind::function(lua, call)?)?;
    }
    let pending = counts.clone();
    timer.set(
        "pending_count",
        bind::function(lua, move |lua, _| one(lua, pending.pending.get()))?,
    )?;
    timer
        .set("running_count", bind::function(lua, move |lua, _| one(lua, counts.running.get()))?)?;
    ngx.set("timer", timer)?;
    let thread = lua.create_table()?;
    thread.set("spawn", bind::function(lua, spawn)?)?;
    thread.set("wait", bind::waiting(lua, |lua, args| async move { wait(&lua, args).await })?)?;
    thread.set("kill", bind::function(lua, kill)?)?;
    ngx.set("thread", thread)?;
    semaphore(lua)
}

/// Whether this VM has a loop that could run something later: the loader's has none.
fn has_loop(lua: &Lua) -> Result<bool, Fault> {
    Ok(state::current().is_some() || Options::of_vm(lua)?.worker.is_some())
}

fn start(lua: &Lua, counts: &Rc<Counts>, mut args: MultiValue, repeats: bool) -> Answer {
    let delay = args.pop_front();
    let Some(Value::Function(callback)) = args.pop_front() else {
        return Err("expected `callback` to be a function".into());
    };
    let delay = delay_of(delay, repeats)?;
    if !has_loop(lua)? {
        return one(lua, (Value::Nil, "API disabled in the context of init_by_lua*"));
    }
    if counts.pending.get() >= PENDING {
        return one(lua, (Value::Nil, "too many pending timers"));
    }
    if counts.is_exiting() && !delay.is_zero() {
        return one(lua, (Value::Nil, "process exiting"));
    }
    let (lua_of_timer, counts) = (lua.clone(), counts.clone());
    let count = counts.begun.replace(counts.begun.get() + 1) + 1;
    let pending = Counted::new(&counts, |counts| &counts.pending);
    drop(tokio::task::spawn_local(async move {
        let mut waiting = Some(pending);
        loop {
            // What begins while the worker ends is not early.
            let premature = counts.wait(delay).await && !delay.is_zero();
            if premature || !repeats {
                waiting = None;
            }
            run(&counts, &callback, premature, args.clone()).await;
            if premature || !repeats {
                break;
            }
        }
        drop((waiting, lua_of_timer));
    }));
    // Kong's timers have names; it leaves short delays to nginx.
    if !delay.is_zero() && delay < RESOLUTION {
        return one(lua, 1);
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    one(lua, format!("unix_timestamp={since};counter={count}"))
}

/// Below this a timer is nginx' own (lua-resty-timer-ng, which Kong puts in place of `ngx.timer`).
const RESOLUTION: Duration = Duration::from_millis(100);

/// The delay of a timer, or what `lua-resty-timer-ng` says of it.
fn delay_of(delay: Option<Value>, repeats: bool) -> Result<Duration, Fault> {
    let name = if repeats { "interval" } else { "delay" };
    let seconds = delay.as_ref().and_then(number);
    let seconds = seconds.ok_or_else(|| format!("expected `{name} to be a number"))?;
    let delay = Duration::try_from_secs_f64(seconds).ok();
    let delay = delay.filter(|delay| !repeats || !delay.is_zero());
    let told = || format!("expected `{name}` to be greater than or equal to 0");
    Ok(delay.ok_or_else(told)?)
}

/// Calls a timer's function. What goes wrong is for the operator.
async fn run(counts: &Rc<Counts>, callback: &Function, premature: bool, mut args: MultiValue) {
    if counts.running.get() >= RUNNING {
        return tracing::error!(target: "lua", "{RUNNING} lua_max_running_timers are not enough");
    }
    let _running = Counted::new(counts, |counts| &counts.running);
    args.push_front(Value::Boolean(premature));
    if let Some(Err(error)) = Owner::timer(callback.call_async::<()>(args)).await {
        tracing::error!(target: "lua", phase = "timer", "{error}");
    }
}

/// A light thread.
pub(in crate::lua) struct Light {
    result: RefCell<Option<Result<MultiValue, Value>>>,
    /// It has ended, as which of all, and was not waited for yet.
    ended: Cell<Option<u64>>,
    gone: Cell<bool>,
    news: Notify,
    /// Told when it has ended, however it has.
    over: Notify,
    task: RefCell<Option<AbortHandle>>,
}

struct Handle(Rc<Light>);

impl UserData for Handle {}

impl Light {
    fn finish(&self, result: Result<MultiValue, Value>) {
        *self.result.borrow_mut() = Some(result);
        thread_local!(static ENDED: Cell<u64> = const { Cell::new(0) });
        let nth = ENDED.replace(ENDED.get() + 1);
        self.ended.set(Some(nth));
        self.news.notify_one();
        self.over.notify_one();
    }

    /// Waits for its end.
    pub(in crate::lua) async fn over(&self) {
        if self.task.borrow().as_ref().is_some_and(|task| !task.is_finished()) {
            self.over.notified().await;
        }
    }

    /// Ends it where it waits.
    pub(in crate::lua) fn stop(&self) {
        if let Some(task) = self.task.borrow_mut().take() {
            task.abort();
            self.over.notify_one();
        }
    }
}

/// What a thread's coroutine does: it catches its own error, so that its value arrives as it is.
const BODY: &str = "
local pcall, co = pcall, coroutine
return function(f) return function(...) return pcall(f, ...) end end";

fn spawn(lua: &Lua, mut args: MultiValue) -> Answer {
    let Some(Value::Function(function)) = args.pop_front() else {
        return Err("bad argument #1 to 'spawn' (Lua function expected)".into());
    };
    if !has_loop(lua)? {
        return Err("API disabled in the context of init_by_lua*".into());
    }
    context::within_thread()?;
    let body: Function = lua.load(BODY).set_name("=thread").eval()?;
    let body: Function = body.call(function)?;
    let thread = lua.create_thread(body)?;
    let light = Rc::new(Light {
        result: RefCell::default(),
        ended: Cell::default(),
        gone: Cell::new(false),
        news: Notify::new(),
        over: Notify::new(),
        task: RefCell::default(),
    });
    let threads: Table = lua.named_registry_value(bind::LIGHT)?;
    threads.raw_set(&thread, lua.create_userdata(Handle(light.clone()))?)?;
    let work = thread.clone().into_async::<MultiValue>(args)?;
    let done = light.clone();
    let work = async move {
        let result = match work.await {
            Ok(mut values) => match values.pop_front() {
                Some(Value::Boolean(true)) => Ok(values),
                _ => Err(values.pop_front().unwrap_or(Value::Nil)),
            },
            Err(error) => {
                tracing::error!(target: "lua", "light thread: {error}");
                Err(Value::Nil)
            }
        };
        done.finish(result);
    };
    let work = Owner::holding(work);
    let mut work: Pin<Box<dyn Future<Output = ()>>> = match state::current() {
        Some(ex) => Box::pin(pdk::CURRENT.scope(ex, work)),
        None => match Owner::current(lua)? {
            Some(timer) => Box::pin(async move {
                // A timer that ends itself ends its threads.
                let _ = timer.thread(work).await;
            }),
            None => Box::pin(work),
        },
    };
    // It runs at once, up to where it first waits.
    let first = limit::on(lua, || work.as_mut().poll(&mut Context::from_waker(Waker::noop())));
    if first.is_pending() {
        let task = tokio::task::spawn_local(work);
        *light.task.borrow_mut() = Some(task.abort_handle());
        if let Some(ex) = state::current() {
            state::of(lua, &ex).threads.borrow_mut().push(light);
        }
    }
    one(lua, thread)
}

fn light(lua: &Lua, value: &Value) -> Result<Rc<Light>, Fault> {
    let threads: Table = lua.named_registry_value(bind::LIGHT)?;
    let Value::Thread(thread) = value else {
        return Err("bad argument #1 to 'wait' (lua thread expected)".into());
    };
    let handle: Option<AnyUserData> = threads.raw_get::<Option<AnyUserData>>(thread as &Thread)?;
    let handle = handle
        .ok_or_else(|| Fault::from("attempt to wait on a coroutine that is not a user thread"))?;
    let light = handle.borrow::<Handle>()?.0.clone();
    Ok(light)
}

/// Waits for the first of several threads: true and its results, or false and its error.
async fn wait(lua: &Lua, args: MultiValue) -> Answer {
    let lights: Vec<_> = args.iter().map(|value| light(lua, value)).collect::<Result<_, _>>()?;
    if lights.is_empty() {
        return Err("at least one coroutine should be specified".into());
    }
    loop {
        let ended = lights.iter().filter(|light| light.ended.get().is_some());
        if let Some(light) = ended.min_by_key(|light| light.ended.get()) {
            light.ended.set(None);
            light.gone.set(true);
            let result = light.result.borrow_mut().take();
            return match result {
                Some(Ok(mut values)) => {
                    values.push_front(Value::Boolean(true));
                    Ok(values)
                }
                Some(Err(error)) => one(lua, (false, error)),
                None => one(lua, (false, Value::Nil)),
            };
        }
        if lights.iter().all(|light| light.gone.get()) {
            return one(lua, (Value::Nil, "already waited or killed"));
        }
        let news = lights.iter().filter(|light| !light.gone.get());
        futures_util::future::select_all(news.map(|light| Box::pin(light.news.notified()))).await;
    }
}

fn kill(lua: &Lua, mut args: MultiValue) -> Answer {
    let light = light(lua, &args.pop_front().unwrap_or(Value::Nil))?;
    if light.gone.get() {
        return one(lua, (Value::Nil, "already waited or killed"));
    }
    if light.ended.get().is_some() {
        return one(lua, (Value::Nil, "already terminated"));
    }
    light.gone.set(true);
    light.stop();
    one(lua, 1)
}

/// The primitive under `ngx.semaphore`.
struct Semaphore {
    free: tokio::sync::Semaphore,
    waiting: Cell<usize>,
}

struct Shared(Rc<Semaphore>);

impl UserData for Shared {}

/// Functions for `kong-compat/ngx/semaphore.lua`, in the module that only `kong-compat` uses.
fn semaphore(lua: &Lua) -> mlua::Result<()> {
    let host = lua.create_table()?;
    host.set(
        "new",
        bind::function(lua, |lua, mut args| {
            let count = args.pop_front().as_ref().and_then(number).unwrap_or_default() as usize;
            let count = count.min(tokio::sync::Semaphore::MAX_PERMITS);
            let free = tokio::sync::Semaphore::new(count);
            one(
                lua,
                lua.create_userdata(Shared(Rc::new(Semaphore { free, waiting: Cell::new(0) })))?,
            )
        })?,
    )?;
    host.set(
        "post",
        bind::function(lua, |lua, mut args| {
            let semaphore = shared(args.pop_front())?;
            let count = args.pop_front().as_ref().and_then(number).unwrap_or(1.0) as usize;
            let room = tokio::sync::Semaphore::MAX_PERMITS - semaphore.free.available_permits();
            semaphore.free.add_permits(count.min(room));
            one(lua, true)
        })?,
    )?;
    host.set(
        "count",
        bind::function(lua, |lua, mut args| {
            let semaphore = shared(args.pop_front())?;
            let free = semaphore.free.available_permits() as f64;
            one(lua, free - semaphore.waiting.get() as f64)
        })?,
    )?;
    host.set(
        "wait",
        bind::waiting(lua, |lua, args| async move { await_permit(&lua, args).await })?,
    )?;
    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    preload.set("silverback.semaphore", lua.create_function(move |_, _: String| Ok(host.clone()))?)
}

/// `wait(seconds)`: true, or nothing and why.
async fn await_permit(lua: &Lua, mut args: MultiValue) -> Answer {
    let semaphore = shared(args.pop_front())?;
    if let Err(Fault::Caller(told)) = context::within_thread() {
        return one(lua, (Value::Nil, told));
    }
    let seconds = args.pop_front().as_ref().and_then(number).unwrap_or_default();
    if let Ok(permit) = semaphore.free.try_acquire() {
        permit.forget();
        return one(lua, true);
    }
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    if limit.is_zero() {
        return one(lua, (Value::Nil, "timeout"));
    }
    semaphore.waiting.set(semaphore.waiting.get() + 1);
    let _waiting = Waiting(semaphore.clone());
    let permit = tokio::time::timeout(limit, semaphore.free.acquire()).await;
    match permit {
        Ok(Ok(permit)) => {
            permit.forget();
            one(lua, true)
        }
        _ => one(lua, (false, "timeout")),
    }
}

struct Waiting(Rc<Semaphore>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get().saturating_sub(1));
    }
}

fn shared(value: Option<Value>) -> Result<Rc<Semaphore>, Fault> {
    let Some(Value::UserData(data)) = value else { return Err("semaphore expected".into()) };
    let semaphore = data.borrow::<Shared>()?.0.clone();
    Ok(semaphore)
}
