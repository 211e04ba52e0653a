//! The Lua machine: one VM per worker, and one for the loader.
//!
//! Everything that Lua may see enters through this folder, and no other module names `mlua`.
//! A VM is LuaJIT with the libraries OpenResty gives its plugins, Kong's modules from
//! `kong-compat/`, and the user's own from `lua_package_path` (`modules.rs` says which win).

mod bind;
mod cache;
mod cjson;
mod configuration;
mod crypto;
mod files;
mod host;
mod json;
mod kong;
mod limit;
mod members;
mod modules;
mod network;
mod ngx;
mod owner;
mod pem;
mod phase;
pub mod plugin;
mod rows;
pub mod schema;
mod spans;
mod spec;
mod state;
mod url;
mod x509;
mod yaml;
mod zlib;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mlua::{Lua, LuaOptions, StdLib};
use thiserror::Error;

use crate::code::Files;
use crate::dicts::Dicts;
use crate::guard::Guard;
use crate::metrics::Metrics;
use crate::settings::{RouterFlavor, Settings, UntrustedLua};
use crate::snapshot::Snapshot;
use crate::vms::Place;

/// What a thread that runs Lua needs for its stack: deep JSON is written by recursion.
pub(crate) use self::cjson::STACK as THREAD_STACK;
pub use self::modules::{bundled_plugins, embedded};
pub use self::network::Network;
pub use self::spec::{Case, Outcome, Spec, Watch, end_children};

/// Why Lua code could not be loaded or run: Lua's own message, with its traceback if it has one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Error(String);

/// How an error of [`Vm::require_table`] ends where a module is no table.
const NO_TABLE: &str = "returns no table (is 'return ...' missing?)";

/// A Lua state with Kong's modules in reach. Clones share the state.
#[derive(Clone)]
pub struct Vm {
    lua: Lua,
}

/// What a VM is made from.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Kong's `lua_package_path`: templates with `?`, separated by `;`. Searched first.
    pub package_path: String,
    /// The most memory that Lua values may take; 0 sets no limit.
    pub memory_limit_bytes: usize,
    /// `kong.configuration.router_flavor`: the schema of Routes asks for it.
    pub router_flavor: RouterFlavor,
    /// What code in the configuration may do.
    pub untrusted_lua: UntrustedLua,
    /// Everything else of `kong.configuration`, by Kong's names.
    pub configuration: serde_json::Map<String, serde_json::Value>,
    /// Peers that `kong.ip.is_trusted` names.
    pub trusted_ips: Vec<ipnet::IpNet>,
    /// Which request bodies plugins are given.
    pub bodies: Bodies,
    /// `ngx.shared`, which all workers have in common.
    pub dicts: Arc<Dicts>,
    /// Where it says what it is at; `None` for the loader's.
    pub place: Option<Arc<Place>>,
    /// Which worker this VM belongs to, from 0; `None` for the loader's.
    pub worker: Option<usize>,
    /// What it knows of its process; `None` for the loader's.
    pub node: Option<Node>,
    /// Where it notes which files it loads.
    pub files: Arc<Files>,
    /// Where its connections go; `None` for the loader's, which opens none.
    pub network: Option<Network>,
}

/// The process that a VM serves in.
#[derive(Clone)]
pub struct Node {
    /// `kong.node.get_id`.
    pub id: uuid::Uuid,
    /// What `kong.nginx.get_statistics` counts.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node {{ id: {} }}", self.id)
    }
}

/// How long the request bodies that plugins are given may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bodies {
    /// What they find in memory; longer bodies are in a file for them.
    pub buffer: usize,
    /// The longest of all.
    pub limit: usize,
}

impl Default for Bodies {
    fn default() -> Self {
        Self { buffer: 8 << 10, limit: 64 << 20 }
    }
}

impl Options {
    /// What the settings say of a VM.
    pub fn of(settings: &Settings, dicts: &Arc<Dicts>) -> Self {
        Self {
            package_path: settings.lua_package_path.clone(),
            router_flavor: settings.router_flavor,
            untrusted_lua: settings.untrusted_lua,
            configuration: configuration::of(settings),
            bodies: Bodies { buffer: settings.clients.body_buffer, limit: settings.body_limit() },
            trusted_ips: settings.trusted_ips.clone(),
            memory_limit_bytes: settings.lua_vm_memory,
            dicts: dicts.clone(),
            ..Self::default()
        }
    }
}

impl Options {
    /// What a VM was made from.
    fn of_vm(lua: &Lua) -> mlua::Result<Rc<Self>> {
        let options = lua.app_data_ref::<Rc<Self>>().map(|options| Rc::clone(&options));
        options.ok_or_else(|| mlua::Error::runtime("the VM has no options"))
    }
}

/// Coroutines of handlers that have come to their end are used again, as OpenResty does.
const COROUTINES: usize = 64;

impl Vm {
    /// A fresh VM. Fails if it cannot be set up within the memory limit.
    pub fn new(options: &Options) -> Result<Self, Error> {
        // Kong's plugins use `ffi` and `debug`, which the safe constructor leaves out. A plugin is
        // code of the operator's choosing and has the rights of the process, as it has in Kong.
        #[allow(unsafe_code)]
        let lua = unsafe {
            Lua::unsafe_new_with(StdLib::ALL, LuaOptions::new().thread_pool_size(COROUTINES))
        };
        if options.memory_limit_bytes > 0 {
            lua.set_memory_limit(options.memory_limit_bytes)?;
        }
        // C modules need symbols that this binary does not export.
        let package: mlua::Table = lua.globals().get("package")?;
        package.set("cpath", "")?;
        package.set("path", options.package_path.as_str())?;
        modules::install(&lua)?;
        let cover = bind::install(&lua)?;
        lua.set_app_data(Rc::new(options.clone()));
        if let Some(network) = &options.network {
            lua.set_app_data(network::Net::new(network));
        }
        host::install(&lua)?;
        rows::install(&lua)?;
        cache::install(&lua)?;
        schema::api::install(&lua)?;
        ngx::install(&lua)?;
        network::install(&lua)?;
        kong::install(&lua, options)?;
        lua.load(include_str!("prelude.lua")).set_name("=prelude.lua").exec()?;
        cover.call::<()>(())?;
        Ok(Self { lua })
    }

    /// Says which configuration is in use: what code without a request sees in `kong.db`.
    pub fn use_snapshot(&self, snapshot: &Arc<Snapshot>) {
        rows::put(&self.lua, snapshot);
    }

    /// Lets Kong's own prometheus plugin answer for `/metrics`.
    ///
    /// # Errors
    /// Lua's message.
    pub fn answer_metrics(&self, answers: &AtomicBool) -> Result<(), String> {
        self.require::<mlua::Value>("silverback.prometheus").map_err(|error| error.to_string())?;
        answers.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Says that the worker ends: timers that wait are told.
    pub fn end_timers(&self) {
        if let Some(counts) = ngx::Counts::of(&self.lua) {
            counts.end();
        }
    }

    /// Timers that have not ended, once they were told.
    pub fn busy_timers(&self) -> usize {
        ngx::Counts::of(&self.lua).map_or(0, |counts| counts.busy())
    }

    /// Loads a module, as `require` does.
    pub(crate) fn require<T: mlua::FromLua>(&self, module: &str) -> mlua::Result<T> {
        let require: mlua::Function = self.lua.globals().get("require")?;
        require.call(module).inspect_err(|_| modules::forget_failed(&self.lua))
    }

    /// Loads a module that must return a table; or tells why not, with its file.
    pub(crate) fn require_table(&self, module: &str) -> Result<mlua::Table, String> {
        match self.require(module).map_err(|error| modules::told(&error.to_string()))? {
            mlua::Value::Table(table) => Ok(table),
            _ => {
                let ours = || embedded(module).map(|(path, _)| path.to_owned());
                let file = self.path_of(module).or_else(ours);
                let file = file.as_deref().unwrap_or(module);
                Err(format!("{file} {NO_TABLE}"))
            }
        }
    }

    /// Whether `require` would find a module, on the user's path or embedded.
    pub fn has_module(&self, module: &str) -> bool {
        embedded(module).is_some() || self.path_of(module).is_some()
    }

    /// The user's file that provides a module, in place of an embedded one if there is one.
    pub fn path_of(&self, module: &str) -> Option<String> {
        if modules::is_core(module) {
            return None;
        }
        modules::path_of(&self.lua, module)
    }

    /// Keeps connections of Lua code from where a configuration says they may not go.
    pub fn guard(&self, guard: &Guard) {
        if let Some(net) = network::Net::of(&self.lua) {
            net.set_guard(guard.clone());
        }
    }

    /// The state itself, for the other files of this folder.
    pub(crate) fn lua(&self) -> &Lua {
        &self.lua
    }
}

impl From<mlua::Error> for Error {
    fn from(error: mlua::Error) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_module_on_the_path_wins_over_an_embedded_one() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("kong")).unwrap();
        for file in ["kong/meta.lua", "kong/mine.lua", "inspect.lua"] {
            std::fs::write(dir.path().join(file), "return { mine = true }").unwrap();
        }
        let path = format!("{}/?.lua;{}/?/init.lua", dir.path().display(), dir.path().display());
        let vm = Vm::new(&Options { package_path: path, ..Options::default() }).unwrap();
        let is_mine = |module: &str| {
            let table: mlua::Table = vm.require(module).unwrap();
            table.get::<Option<bool>>("mine").unwrap() == Some(true)
        };
        assert!(is_mine("inspect") && is_mine("kong.mine"));
        assert!(!is_mine("kong.meta"), "a module of Kong's core that is embedded");
    }

    #[test]
    fn a_missing_module_names_the_file_that_would_provide_it() {
        let vm = Vm::new(&Options::default()).unwrap();
        let error = vm.require::<mlua::Value>("kong.tools.no_such").unwrap_err().to_string();
        assert!(error.contains("module 'kong.tools.no_such' not found"), "{error}");
        assert!(error.contains("kong-compat/kong/tools/no_such.lua"), "{error}");
        assert!(error.contains("docs/compatibility.md"), "{error}");
    }

    #[test]
    fn a_missing_module_names_the_plugin_that_wanted_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("kong/plugins/needy");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("handler.lua"), "local sdk = require 'vendor.sdk'").unwrap();
        let path = format!("{}/?.lua", dir.path().display());
        let vm = Vm::new(&Options { package_path: path, ..Options::default() }).unwrap();
        let error = vm.require::<mlua::Value>("kong.plugins.needy.handler").unwrap_err();
        assert!(error.to_string().contains("which plugin 'needy' wants"), "{error}");
    }

    #[test]
    fn the_memory_limit_stops_a_greedy_module() {
        let limit = 16 << 20;
        let vm = Vm::new(&Options { memory_limit_bytes: limit, ..Options::default() }).unwrap();
        let greedy = "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1024) .. i end";
        let error = vm.lua().load(greedy).exec().unwrap_err();
        assert!(error.to_string().contains("not enough memory"), "{error}");
    }

    #[test]
    fn plugins_get_the_libraries_that_openresty_gives_them() {
        let vm = Vm::new(&Options::default()).unwrap();
        for library in ["ffi", "bit", "jit", "debug", "string.buffer", "table.new"] {
            assert!(vm.require::<mlua::Value>(library).is_ok(), "{library}");
        }
        let null: bool =
            vm.lua().load("return ngx.null ~= nil and ngx.null ~= false").eval().unwrap();
        assert!(null);
    }
}
