//! The loader: a thread of its own that turns files into a Snapshot that is known to work.
//!
//! An endless validator or ten thousand routes must not hold up token refresh, `/status` or
//! traffic. The loader has its own Lua VM, and compiles each Snapshot once for trial before any
//! worker sees it: nothing can fail later. A file that cannot be loaded changes nothing.

mod history;

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;

use tokio::sync::{oneshot, watch};

use crate::config::{self, Dump, Errors, Problem, Source};
use crate::distance::distance;
use crate::guard;
use crate::lua::{self, schema::LuaSchemas};
use crate::plugins::{self, ModelTarget};
use crate::runloop::{Runloop, Scripts};
use crate::settings::{Env, Settings};
use crate::shared::Shared;
use crate::snapshot::{Place, Snapshot};
use crate::tls::Choice;
pub use history::History;

/// Where a configuration is.
#[derive(Debug, Clone)]
pub enum Input {
    /// A file, or a folder of files.
    Path(PathBuf),
    /// Text that is already here: standard input, the quickstart, tests.
    Text(Source),
}

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

/// One thing that is wrong, and where, if that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The place in a file.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Complaint {
    /// Without a place.
    pub fn plain(message: String) -> Self {
        Self { place: None, message, hint: None }
    }

    /// Lines of which each may begin with the place of a plugin.
    fn of_lines(lines: &[String], snapshot: &Snapshot) -> Vec<Self> {
        let places = snapshot.places.values().filter(|_| !lines.is_empty());
        let places: HashMap<String, &Place> =
            places.map(|place| (place.to_string(), place)).collect();
        let split = |line: &String| {
            let ends = line.match_indices(": ");
            let found = ends.filter_map(|(end, _)| Some((*places.get(&line[..end])?, end))).last();
            match found {
                None => Self::plain(line.clone()),
                Some((place, end)) => {
                    let message = line[end + 2..].to_owned();
                    Self { place: Some(place.clone()), message, hint: None }
                }
            }
        };
        lines.iter().map(split).collect()
    }
}

impl From<&Problem> for Complaint {
    fn from(problem: &Problem) -> Self {
        let place = Some(problem.place()).filter(|place| place.line > 0);
        Self { place, message: problem.message.clone(), hint: problem.hint.clone() }
    }
}

impl std::fmt::Display for Complaint {
    /// `file:line: path: message (hint)`, as far as known.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            let separator = if place.path.is_empty() { "" } else { ": " };
            write!(f, "{place}{separator}")?;
        }
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// Why a configuration is not loaded.
pub enum Refused {
    /// The files say something wrong.
    Invalid(Errors),
    /// Something else: a file that cannot be read, a plugin that cannot be made.
    Unusable(Vec<Complaint>),
}

impl Refused {
    /// Every error.
    pub fn complaints(&self) -> Vec<Complaint> {
        match self {
            Self::Invalid(errors) => errors.problems().iter().map(Complaint::from).collect(),
            Self::Unusable(complaints) => complaints.clone(),
        }
    }

    /// Every error, one line each.
    pub fn lines(&self) -> Vec<String> {
        self.complaints().iter().map(ToString::to_string).collect()
    }
}

impl From<Vec<String>> for Refused {
    fn from(lines: Vec<String>) -> Self {
        Self::Unusable(lines.into_iter().map(Complaint::plain).collect())
    }
}

/// The inputs that arguments name; `-` is standard input, read here and once.
///
/// # Errors
/// Standard input cannot be read.
pub fn inputs(arguments: &[String]) -> Result<Vec<Input>, Vec<String>> {
    arguments.iter().map(|argument| input(argument).map_err(|error| vec![error])).collect()
}

fn input(argument: &str) -> Result<Input, String> {
    if argument != "-" {
        return Ok(Input::Path(PathBuf::from(argument)));
    }
    let mut text = String::new();
    let read = std::io::stdin().read_to_string(&mut text);
    read.map_err(|error| format!("standard input: {error}"))?;
    Ok(Input::Text(Source { name: "<stdin>".to_owned(), text }))
}

/// The files that inputs stand for.
///
/// # Errors
/// One line for each file or folder that is not there or holds nothing.
fn read(inputs: &[Input]) -> Result<Vec<Source>, Vec<String>> {
    let mut sources = Vec::new();
    let mut errors = Vec::new();
    for input in inputs {
        match input {
            Input::Text(source) => sources.push(source.clone()),
            Input::Path(path) => match read_path(path) {
                Ok(found) => sources.extend(found),
                Err(error) => errors.push(error),
            },
        }
    }
    if errors.is_empty() { Ok(sources) } else { Err(errors) }
}

fn read_path(path: &Path) -> Result<Vec<Source>, String> {
    let name = |path: &Path| path.display().to_string();
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", name(path));
    let files = match path.is_dir() {
        true => config::files_in(path).map_err(|error| failed(path, error))?,
        false => vec![path.to_owned()],
    };
    if files.is_empty() {
        return Err(format!("{}: the folder holds no .yaml, .yml or .json file", name(path)));
    }
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).map_err(|error| failed(file, error))?;
        Ok(Source { name: name(file), text })
    };
    files.iter().map(read).collect()
}

/// Loads and tries a configuration on this thread.
///
/// # Errors
/// Every error, with file and line where there is one.
pub fn compile(shared: &Arc<Shared>, inputs: &[Input]) -> Result<Compiled, Refused> {
    let Prepared { sources, env, vm, schemas } = Prepared::new(&shared.settings, inputs)?;
    let loaded = config::load(&sources, &schemas, &env).map_err(Refused::Invalid)?;
    let mut warnings: Vec<_> = loaded.warnings.iter().map(Complaint::from).collect();
    let mut snapshot = loaded.snapshot;
    snapshot.scripts = scripts(&vm, &snapshot);
    snapshot.env = env;
    let snapshot = Arc::new(snapshot);
    let certificates = Choice::read(&shared.settings, &snapshot)?;
    // The trial: what a worker will do, while there is still somebody to tell.
    let trial = Scripts::for_trial(vm);
    let placed = |lines: &[String]| Complaint::of_lines(lines, &snapshot);
    let runloop = Runloop::new(&snapshot, shared, &trial, None)
        .map_err(|refusals| Refused::Unusable(placed(&refusals)))?;
    let findings = trial.into_findings();
    warnings.extend(placed(&findings.warnings.into_inner()));
    warnings.extend(placed(&guard::warnings(&snapshot)));
    let targets = findings.targets.into_inner();
    Ok(Compiled { snapshot, certificates, runloop, warnings, targets })
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
}

impl Prepared {
    fn new(settings: &Settings, inputs: &[Input]) -> Result<Self, Vec<String>> {
        let sources = read(inputs)?;
        let env = environment(settings)?;
        let package_path = settings.lua_package_path.clone();
        let router_flavor = settings.router_flavor;
        let options = lua::Options { package_path, router_flavor, ..lua::Options::default() };
        let vm = lua::Vm::new(&options).map_err(|error| vec![error.to_string()])?;
        installed(&vm, &settings.plugins)?;
        let schemas = LuaSchemas::new(vm.clone(), &settings.plugins);
        Ok(Self { sources, env, vm, schemas })
    }
}

/// Every name of the `plugins` setting must be a plugin: Kong does not start otherwise. Kong's own
/// that are not built here are refused where one is configured, not where one is listed.
///
/// # Errors
/// One line in Kong's words for each name that is none.
fn installed(vm: &lua::Vm, names: &[String]) -> Result<(), Vec<String>> {
    let is_missing = |name: &&String| {
        let module = format!("kong.plugins.{name}.handler");
        let is_known = *name == "bundled" || plugins::native(name).is_some();
        !is_known && !plugins::is_kongs(name) && !vm.has_module(&module)
    };
    let line = |name: &String| {
        let near = lua::bundled_plugins().map(|known| (distance(name, known), known)).min();
        let hint = near.filter(|(distance, _)| *distance <= 2);
        let hint = hint.map(|(_, known)| format!("did you mean '{known}'?")).unwrap_or_else(|| {
            format!("'kong/plugins/{name}/handler.lua' is nowhere on lua_package_path")
        });
        format!("plugins: on plugin '{name}': {name} plugin is enabled but not installed; {hint}")
    };
    let missing: Vec<_> = names.iter().filter(is_missing).map(line).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

/// The plugins whose handler is Lua: the user's file first, then ours in Rust, then ours in Lua.
fn scripts(vm: &lua::Vm, snapshot: &Snapshot) -> BTreeMap<String, Option<String>> {
    let mut scripts = BTreeMap::new();
    for plugin in snapshot.plugins.iter().filter(|plugin| plugin.enabled) {
        let module = format!("kong.plugins.{}.handler", plugin.name);
        let file = vm.path_of(&module);
        let is_native = plugins::native(&plugin.name).is_some();
        if file.is_some() || !is_native && vm.has_module(&module) {
            scripts.insert(plugin.name.clone(), file);
        }
    }
    scripts
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

/// The loader's thread, and the way to it.
pub struct Loader {
    orders: mpsc::Sender<Order>,
    history: Arc<History>,
}

type Answer = Result<(), Vec<String>>;

enum Order {
    /// Load again, and tell this one how it went.
    Load(Option<oneshot::Sender<Answer>>),
    /// End. Watchers hold senders too, so a closed channel cannot say it.
    Stop,
}

impl Loader {
    /// Loads once; if that works the thread stays and loads again when it is told to.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn start(
        shared: Arc<Shared>,
        inputs: Vec<Input>,
    ) -> Result<(Self, watch::Receiver<Arc<Snapshot>>), Vec<String>> {
        let (orders, to_do) = mpsc::channel::<Order>();
        let (first, loaded) = mpsc::channel();
        let history = Arc::new(History::default());
        let past = history.clone();
        let work = move || {
            let sender = match compile(&shared, &inputs) {
                Ok(compiled) => {
                    tell(&compiled);
                    shared.certificates.replace(compiled.certificates);
                    past.add(Ok(compiled.snapshot.hash.clone()));
                    let (sender, receiver) = watch::channel(compiled.snapshot);
                    let _ = first.send(Ok(receiver));
                    sender
                }
                Err(refused) => return drop(first.send(Err(refused.lines()))),
            };
            while let Ok(Order::Load(waiting)) = to_do.recv() {
                let mut waiting: Vec<_> = waiting.into_iter().collect();
                // Whoever asked while a load was running gets this one together.
                while let Ok(order) = to_do.try_recv() {
                    match order {
                        Order::Load(another) => waiting.extend(another),
                        Order::Stop => return,
                    }
                }
                shared.systemd.reloading();
                let answer = reload(&shared, &inputs, &sender);
                past.add(answer.clone().map_err(|errors| errors.len()));
                shared.systemd.ready();
                for waiting in waiting {
                    let _ = waiting.send(answer.clone().map(drop));
                }
            }
        };
        let thread = std::thread::Builder::new().name("loader".into()).spawn(work);
        thread.map_err(|error| vec![format!("loader thread: {error}")])?;
        let receiver = loaded.recv().map_err(|_| vec!["the loader ended early".to_owned()])??;
        Ok((Self { orders, history }, receiver))
    }

    /// What has been loaded so far.
    pub fn history(&self) -> Arc<History> {
        self.history.clone()
    }

    /// A way to ask for a reload from anywhere; the outcome is logged.
    pub fn trigger(&self) -> impl Fn() + Send + use<> {
        let orders = self.orders.clone();
        move || drop(orders.send(Order::Load(None)))
    }

    /// Loads again and waits for the outcome.
    ///
    /// # Errors
    /// Everything that is wrong; the old configuration stays in force.
    pub async fn reload(&self) -> Answer {
        let (answer, waiting) = oneshot::channel();
        let gone = || vec!["the loader has ended".to_owned()];
        self.orders.send(Order::Load(Some(answer))).map_err(|_| gone())?;
        waiting.await.map_err(|_| gone())?
    }

    /// Ends the thread. It is not waited for: a validator that never ends must not hold up the end
    /// of the process.
    pub fn stop(self) {
        let _ = self.orders.send(Order::Stop);
    }
}

/// Loads again, and gives the hash of the new configuration.
fn reload(
    shared: &Arc<Shared>,
    inputs: &[Input],
    sender: &watch::Sender<Arc<Snapshot>>,
) -> Result<String, Vec<String>> {
    let help = "Configuration loads by outcome";
    let count = |outcome| {
        let labels = [("outcome", outcome)];
        shared.metrics.counter("silverback_config_loads_total", help, &labels).add(1);
    };
    // A loader that dies would leave every later change of the files without effect.
    let compiled = catch_unwind(AssertUnwindSafe(|| compile(shared, inputs)));
    let panicked = || Refused::from(vec!["loading panicked".to_owned()]);
    match compiled.unwrap_or_else(|_| Err(panicked())) {
        Ok(compiled) => {
            tell(&compiled);
            count("ok");
            shared.certificates.replace(compiled.certificates);
            let hash = compiled.snapshot.hash.clone();
            sender.send_replace(compiled.snapshot);
            tracing::info!(hash, "configuration loaded"); // whoever waits for the line finds it so
            Ok(hash)
        }
        Err(refused) => {
            count("error");
            let errors = refused.lines();
            tracing::error!("configuration not loaded, the one in force stays:");
            for error in &errors {
                tracing::error!("{error}");
            }
            Err(errors)
        }
    }
}

/// Tells the operator what came with a configuration.
fn tell(compiled: &Compiled) {
    for warning in &compiled.warnings {
        tracing::warn!("{warning}");
    }
    let scripts = compiled.snapshot.scripts.iter();
    for (plugin, file) in scripts.filter_map(|(plugin, file)| Some((plugin, file.as_ref()?))) {
        tracing::info!("plugin '{plugin}' runs from {file}");
    }
}
