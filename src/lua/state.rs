//! What the VM keeps for one exchange: `kong.ctx`, `ngx.ctx`, and which plugin is running.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{Lua, Table, WeakLua};
use serde_json::Value;
use smallvec::SmallVec;
use tokio::sync::Notify;
use uuid::Uuid;

use super::kong::Retries;
use super::ngx::{Light, ctx};
use super::owner::{Owner, kept};
use super::{json, limit};
use crate::pdk::{CURRENT, Exchange, Spaces};

/// Room in a new `kong.ctx.plugin`: whoever asks for it mostly sets a field or two.
const FIELDS: usize = 2;

/// The Lua side of an exchange. It lives as long as the exchange does.
pub(super) struct State {
    lua: WeakLua,
    /// `kong.ctx.shared`, and `ngx.ctx`: made when they are first asked for.
    shared: RefCell<Option<Table>>,
    ngx: RefCell<Option<Table>>,
    /// What its code has open.
    pub(super) owner: Rc<Owner>,
    /// How the plugin ends though its code waits for ever.
    verdict: RefCell<Option<Verdict>>,
    /// Wakes its driver for a verdict: it may come from a light thread, which is a task of its own.
    told: Notify,
    /// What is called ahead of a retry (`kong.service.set_target_retry_callback`).
    pub(super) retries: RefCell<Option<Rc<Retries>>>,
    /// What it has printed (`ngx.say`); `None` if nothing.
    pub(super) printed: RefCell<Option<Vec<u8>>>,
    /// What `kong.client.authenticate` was given as the consumer.
    pub(super) consumer: RefCell<Option<Table>>,
    /// What it was given as the credential.
    pub(super) credential: RefCell<Option<mlua::Value>>,
    /// A value for the log record is none that it could hold.
    pub(super) has_odd_value: Cell<bool>,
    /// The consumer groups that a plugin has set.
    pub(super) groups: RefCell<Option<Table>>,
    /// Pieces of the body that `kong.response.get_raw_body` has put aside.
    pub(super) pieces: RefCell<Option<Vec<u8>>>,
    /// The request's body is one that a plugin has set, which is in memory however long it is.
    pub(super) sets_body: Cell<bool>,
    /// What `ngx.req` and `ngx.say` have noted.
    pub(super) notes: Notes,
    file: RefCell<Option<BodyFile>>,
    /// Light threads of the phase that runs.
    pub(super) threads: RefCell<Vec<Rc<Light>>>,
    running: RefCell<Option<Running>>,
    /// `kong.ctx.plugin` of each plugin that has asked for it; there are few.
    plugins: RefCell<SmallVec<[(Uuid, Table); 1]>>,
}

/// What OpenResty's functions keep of a request.
#[derive(Default)]
pub(super) struct Notes {
    /// `ngx.var.uri`, if somebody has set it.
    pub(super) uri: RefCell<Option<String>>,
    /// The path that a plugin has set with `ngx.var.upstream_uri`, and the text with its query.
    pub(super) upstream_uri: RefCell<Option<(String, String)>>,
    /// The body that is being put together (`ngx.req.init_body`).
    pub(super) draft: RefCell<Option<Vec<u8>>>,
    /// Nothing more may be printed (`ngx.eof`).
    pub(super) has_ended: Cell<bool>,
}

/// How a plugin ends whose code goes no further.
pub(super) enum Verdict {
    /// It has answered.
    Exited,
    /// It has yielded to Kong, which does not resume it.
    Ended,
    /// It has failed in a way that it cannot catch.
    Failed(String),
}

/// The plugin whose code is running.
#[derive(Clone)]
pub(super) struct Running {
    /// Its entity: two configurations of one plugin do not share `kong.ctx.plugin`.
    pub(super) id: Uuid,
    /// Its name, for log lines.
    pub(super) name: Arc<str>,
}

/// The state of an exchange, made when it is first asked for.
pub(super) fn of(lua: &Lua, ex: &Exchange) -> Rc<State> {
    known(ex).unwrap_or_else(|| make(lua, ex))
}

fn make(lua: &Lua, ex: &Exchange) -> Rc<State> {
    let state = Rc::new(State {
        lua: lua.weak(),
        shared: RefCell::default(),
        ngx: RefCell::default(),
        owner: Rc::default(),
        verdict: RefCell::default(),
        told: Notify::new(),
        retries: RefCell::default(),
        printed: RefCell::default(),
        consumer: RefCell::default(),
        credential: RefCell::default(),
        has_odd_value: Cell::new(false),
        groups: RefCell::default(),
        pieces: RefCell::default(),
        sets_body: Cell::new(false),
        notes: Notes::default(),
        file: RefCell::default(),
        threads: RefCell::default(),
        running: RefCell::default(),
        plugins: RefCell::default(),
    });
    ex.shared.keep(state.clone());
    state
}

pub(super) fn known(ex: &Exchange) -> Option<Rc<State>> {
    let spaces: Rc<dyn Any> = ex.shared.spaces()?;
    spaces.downcast().ok()
}

/// The exchange whose turn it is; `None` in timers and while modules load.
pub(super) fn current() -> Option<Rc<Exchange>> {
    CURRENT.try_with(Rc::clone).ok()
}

impl State {
    /// Notes which plugin runs from here on.
    pub(super) fn enter(&self, running: &Running) {
        *self.verdict.borrow_mut() = None;
        *self.running.borrow_mut() = Some(running.clone());
    }

    /// Ends the plugin. What was said first counts.
    pub(super) fn end(&self, verdict: Verdict) {
        self.verdict.borrow_mut().get_or_insert(verdict);
        self.told.notify_one();
    }

    /// How the plugin is to end, if somebody has said so.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict.borrow_mut().take()
    }

    /// Waits for a verdict; there may be none after all.
    pub(super) async fn told(&self) {
        self.told.notified().await;
    }

    /// The plugin whose code is running.
    pub(super) fn running(&self) -> Option<Running> {
        self.running.borrow().clone()
    }

    /// `kong.ctx.shared`.
    pub(super) fn shared(&self, lua: &Lua) -> mlua::Result<Table> {
        kept(&self.shared, || limit::off(lua, || lua.create_table()))
    }

    /// Puts another table in its place.
    pub(super) fn set_shared(&self, table: Table) {
        *self.shared.borrow_mut() = Some(table);
    }

    /// `ngx.ctx`.
    pub(super) fn ngx(&self, lua: &Lua) -> mlua::Result<Table> {
        kept(&self.ngx, || limit::off(lua, || ctx::table(lua)))
    }

    /// Puts another table in its place.
    pub(super) fn set_ngx(&self, table: Table) {
        *self.ngx.borrow_mut() = Some(table);
    }

    /// `kong.ctx.plugin` of the running plugin.
    pub(super) fn plugin(&self, lua: &Lua) -> mlua::Result<Option<Table>> {
        let running = self.running.borrow().as_ref().map(|running| running.id);
        let Some(running) = running else { return Ok(None) };
        let known = {
            let plugins = self.plugins.borrow();
            plugins.iter().find(|(id, _)| *id == running).map(|(_, table)| table.clone())
        };
        if known.is_some() {
            return Ok(known);
        }
        let table = limit::off(lua, || lua.create_table_with_capacity(0, FIELDS))?;
        self.plugins.borrow_mut().push((running, table.clone()));
        Ok(Some(table))
    }

    /// Puts another table in place of `kong.ctx.plugin`.
    pub(super) fn set_plugin(&self, table: Table) {
        let Some(running) = self.running() else { return };
        let mut plugins = self.plugins.borrow_mut();
        match plugins.iter_mut().find(|(id, _)| *id == running.id) {
            Some((_, known)) => *known = table,
            None => plugins.push((running.id, table)),
        }
    }
}

/// A body in a file, for plugins that ask for one (`ngx.req.get_body_file`). It goes with its
/// exchange.
struct BodyFile(PathBuf);

impl BodyFile {
    fn write(body: &[u8]) -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("silverback-body-{}", Uuid::new_v4()));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path)?;
        let file_of = Self(path);
        file.write_all(body).map(|()| file_of)
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl State {
    /// The path of a file that holds the request's body; `None` if there is no room for it.
    pub(super) fn body_file(&self, body: &[u8]) -> Option<String> {
        let mut file = self.file.borrow_mut();
        if file.is_none() {
            let written = BodyFile::write(body);
            *file = written.inspect_err(|error| tracing::error!("a body's file: {error}")).ok();
        }
        file.as_ref().map(|file| file.0.to_string_lossy().into_owned())
    }
}

impl Spaces for State {
    fn value(&self, name: &str) -> Option<Value> {
        let lua = self.lua.try_upgrade()?;
        let look = |table: Table| table.get::<Option<mlua::Value>>(name).ok().flatten();
        let shared = self.shared.borrow().clone();
        let value = shared.and_then(look).or_else(|| look(self.ngx(&lua).ok()?))?;
        json::from_lua(&lua, value).ok()
    }

    fn set(&self, name: &str, value: &Value) {
        let Some(lua) = self.lua.try_upgrade() else { return };
        let Ok(table) = self.shared(&lua) else { return };
        // Only a table that a plugin has made read-only refuses; then nobody is told.
        let _ = json::to_lua(&lua, value).and_then(|value| table.set(name, value));
    }
}
