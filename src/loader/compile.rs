//! From inputs to a Snapshot that was tried once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use super::{Complaint, Input, Refused, input};
use crate::catalog::Catalog;
use crate::code::Files;
use crate::config::{self, Dump, Source};
use crate::dicts::Dicts;
use crate::distance::distance;
use crate::guard;
use crate::lua::plugin::Handler;
use crate::lua::{self, schema::LuaSchemas};
use crate::plugins::{self, ModelTarget};
use crate::runloop::{Runloop, Scripts};
use crate::schema::Schemas as _;
use crate::settings::{Env, Settings};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tls::Choice;

/// A Snapshot and what its author should know.
pub struct Compiled {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    /// What TLS listeners show with it.
    pub certificates: Choice,
    /// The trial: what a worker makes of it, on this thread.
    pub runloop: Runloop,
    /// In the order in which they were found.
    pub warnings: Vec<Complaint>,
    /// The models that it would call.
    pub targets: Vec<ModelTarget>,
}

/// Loads and tries a configuration on this thread.
///
/// # Errors
/// Every error, with file and line where there is one.
pub fn compile(shared: &Arc<Shared>, inputs: &[Input]) -> Result<Compiled, Refused> {
    let Prepared { sources, env, vm, schemas, files } = Prepared::new(&shared.settings, inputs)?;
    let loaded = config::load(&sources, &schemas, &env).map_err(Refused::Invalid)?;
    let mut warnings: Vec<_> = loaded.warnings.iter().map(Complaint::from).collect();
    let mut snapshot = loaded.snapshot;
    snapshot.scripts = scripts(&vm, &snapshot, &shared.settings.plugins);
    if snapshot.scripts.is_empty() {
        // Nobody reads it.
        snapshot.catalog = Catalog::default();
    }
    snapshot.env = env;
    snapshot.code = code_of(shared, &vm, &snapshot, files);
    let snapshot = Arc::new(snapshot);
    let placed = |lines: &[String]| Complaint::of_lines(lines, &snapshot);
    let unusable = |lines: Vec<String>| Refused::Unusable(placed(&lines));
    let certificates = Choice::read(&shared.settings, &snapshot).map_err(unusable)?;
    // The trial: what a worker will do, while there is still somebody to tell.
    let trial = Scripts::for_trial(vm);
    let runloop = Runloop::new(&snapshot, shared, &trial, None).map_err(unusable)?;
    let findings = trial.into_findings();
    warnings.extend(placed(&findings.warnings.into_inner()));
    warnings.extend(placed(&guard::warnings(&snapshot)));
    let targets = findings.targets.into_inner();
    Ok(Compiled { snapshot, certificates, runloop, warnings, targets })
}

/// The generation of code that these plugins belong to. Whatever their handlers load has been noted
/// then; a handler that cannot be loaded is told of in the trial.
fn code_of(shared: &Shared, vm: &lua::Vm, snapshot: &Snapshot, files: Arc<Files>) -> u64 {
    for name in snapshot.scripts.keys() {
        let _ = Handler::load(vm, name);
    }
    shared.code.next(files)
}

/// Works out the effective configuration; nothing is tried.
///
/// # Errors
/// Every error, with file and line where there is one.
pub fn dump(settings: &Settings, inputs: &[Input], with_secrets: bool) -> Result<Dump, Refused> {
    let Prepared { sources, env, schemas, .. } = Prepared::new(settings, inputs)?;
    config::dump(&sources, &schemas, &env, with_secrets).map_err(Refused::Invalid)
}

/// What a configuration is read from and with.
struct Prepared {
    sources: Vec<Source>,
    env: Env,
    vm: lua::Vm,
    schemas: LuaSchemas,
    /// What the VM has loaded.
    files: Arc<Files>,
}

impl Prepared {
    fn new(settings: &Settings, inputs: &[Input]) -> Result<Self, Vec<String>> {
        let sources = input::read(inputs)?;
        let env = environment(settings)?;
        // What code leaves in shared memory while a configuration is tried is nobody's.
        let dicts = Arc::new(Dicts::with(&settings.shared_dicts));
        let files = Arc::new(Files::default());
        let common = lua::Options::of(settings, &dicts);
        let options = lua::Options { files: files.clone(), ..common };
        let vm = lua::Vm::new(&options).map_err(|error| vec![error.to_string()])?;
        installed(&vm, &settings.plugins, &settings.lua_package_path)?;
        let schemas = LuaSchemas::new(vm.clone(), &settings.plugins);
        usable(&vm, &schemas, &settings.plugins, &settings.lua_package_path)?;
        Ok(Self { sources, env, vm, schemas, files })
    }
}

/// How Kong begins to tell of plugins that it cannot start with.
const ON_PLUGIN: &str = "error loading plugin schemas: on plugin";

/// Where a file of a plugin was looked for.
fn nowhere(name: &str, part: &str, path: &str) -> String {
    format!("'kong/plugins/{name}/{part}.lua' is nowhere on lua_package_path ({path})")
}

/// The user's plugins that are on a path, for hints.
fn plugins_on(path: &str) -> Vec<String> {
    let folders = path.split(';').filter_map(|template| template.split_once('?'));
    let folders = folders.map(|(folder, _)| format!("{folder}kong/plugins"));
    let entries = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let homes = entries.filter(|entry| entry.path().join("handler.lua").is_file());
    homes.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Every name of the `plugins` setting must be a plugin: Kong does not start otherwise. Kong's own
/// that are not built here are refused where one is configured, not where one is listed.
///
/// # Errors
/// One line in Kong's words for each name that is none.
fn installed(vm: &lua::Vm, names: &[String], path: &str) -> Result<(), Vec<String>> {
    let is_missing = |name: &&String| {
        let module = format!("kong.plugins.{name}.handler");
        let is_known = *name == "bundled" || plugins::native(name).is_some();
        !is_known && !plugins::is_kongs(name) && !vm.has_module(&module)
    };
    let line = |name: &String| {
        let known = lua::bundled_plugins().map(str::to_owned).chain(plugins_on(path));
        let near = known.map(|known| (distance(name, &known), known)).min();
        let hint = near.filter(|(distance, _)| *distance <= 2);
        let hint = hint.map(|(_, known)| format!("did you mean '{known}'?"));
        let hint = hint.unwrap_or_else(|| nowhere(name, "handler", path));
        format!("{ON_PLUGIN} '{name}': {name} plugin is enabled but not installed; {hint}")
    };
    let missing: Vec<_> = names.iter().filter(is_missing).map(line).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// Each plugin that the setting names must have a handler and a schema that can be used, whether it
/// is configured or not: Kong does not start otherwise.
///
/// # Errors
/// One line in Kong's words for each that has not.
fn usable(
    vm: &lua::Vm,
    schemas: &LuaSchemas,
    names: &[String],
    path: &str,
) -> Result<(), Vec<String>> {
    let of_users = |name: &&String| {
        *name != "bundled" && !plugins::is_kongs(name) && script(vm, name).is_some()
    };
    let fault = |name: &String| {
        let _late = Late::watch(name);
        // Kong tells of the handler first; the schema is read first, since a module that has failed
        // tells its reason once.
        let schema = schemas.plugin(name).map(drop).map_err(|error| {
            let is_there = vm.has_module(&format!("kong.plugins.{name}.schema"));
            if is_there { error } else { format!("{error}; {}", nowhere(name, "schema", path)) }
        });
        let fault = Handler::load(vm, name).map(drop).and(schema);
        let fault = fault.and_then(|()| schemas.check_entities(name)).err()?;
        Some(format!("{ON_PLUGIN} '{name}': {fault}"))
    };
    let faults: Vec<_> = names.iter().filter(of_users).filter_map(fault).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Tells when the code of a plugin does not come back, until this is dropped: nothing can interrupt
/// it, and whoever waits for the configuration should know why.
struct Late(#[expect(unused, reason = "its end is what counts")] Sender<()>);

impl Late {
    fn watch(name: &str) -> Self {
        const PATIENCE: Duration = Duration::from_secs(3);
        let (over, ends) = mpsc::channel::<()>();
        let name = name.to_owned();
        std::thread::spawn(move || {
            if ends.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                let secs = PATIENCE.as_secs();
                tracing::error!(
                    "plugin '{name}': its files have been loading for more than {secs} seconds \
                     (a loop at the top of handler.lua, schema.lua or daos.lua?); the \
                     configuration waits for them"
                );
            }
        });
        Self(over)
    }
}

/// The plugins whose handler is Lua: the user's file first, then ours in Rust, then ours in Lua.
///
/// Those that the setting names one by one are among them, configured or not: Kong runs their
/// `init_worker` and `configure` all the same.
fn scripts(
    vm: &lua::Vm,
    snapshot: &Snapshot,
    named: &[String],
) -> BTreeMap<String, Option<String>> {
    let used = snapshot.plugins.iter().filter(|plugin| plugin.enabled).map(|plugin| &plugin.name);
    let named = named.iter().filter(|name| !plugins::is_kongs(name));
    used.chain(named).filter_map(|name| Some((name.clone(), script(vm, name)?))).collect()
}

/// The user's file of a plugin whose handler is Lua, if it is the user's; `None` if it is Rust.
fn script(vm: &lua::Vm, name: &str) -> Option<Option<String>> {
    let module = format!("kong.plugins.{name}.handler");
    let file = vm.path_of(&module);
    let is_native = plugins::native(name).is_some();
    (file.is_some() || !is_native && vm.has_module(&module)).then_some(file)
}

/// The environment of the process, and over it the variables of `silverback_env_file`.
fn environment(settings: &Settings) -> Result<Env, Vec<String>> {
    let Some(path) = &settings.env_file else { return Ok(settings.env.clone()) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![format!("silverback_env_file {}: {error}", path.display())])?;
    settings
        .env
        .with_lines(&text)
        .map_err(|line| vec![format!("{}:{line}: expected NAME=value", path.display())])
}
