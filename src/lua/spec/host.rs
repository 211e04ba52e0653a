//! What specs are given beside the runtime: gateways as processes of their own, free ports, and the
//! schema engine. The module `silverback.spec`; only a VM that runs specs has it.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mlua::{FromLuaMulti as _, IntoLua as _, Lua, Table, UserData, UserDataMethods, Value};

use super::super::schema::{self, Checked};
use super::super::{Vm, bind, json};
use super::server;
use crate::schema::{Error, Step};

/// Processes that run, by id; and what one spec file leaves for the next.
#[derive(Default)]
struct Common {
    children: HashMap<u32, Child>,
    /// Shells that run a command for a spec.
    shells: HashSet<u32>,
    /// The run ends: nothing more is started.
    is_over: bool,
    notes: HashMap<String, String>,
}

static COMMON: Mutex<Option<Common>> = Mutex::new(None);

fn with_common<T>(act: impl FnOnce(&mut Common) -> T) -> T {
    let mut common: MutexGuard<'_, Option<Common>> =
        COMMON.lock().unwrap_or_else(PoisonError::into_inner);
    act(common.get_or_insert_default())
}

/// Ends every process that specs have started; none is started any more.
pub fn end_children() {
    with_common(|common| {
        common.is_over = true;
        for shell in common.shells.drain() {
            send(shell, "KILL");
        }
        for (_, mut child) in common.children.drain() {
            let _ = child.kill();
            let _ = child.wait();
        }
    });
}

/// Installs the module.
pub(super) fn install(vm: &Vm) -> mlua::Result<()> {
    let lua = vm.lua();
    let host = lua.create_table()?;
    let program = std::env::current_exe().map_err(mlua::Error::external)?;
    host.set("program", program.to_string_lossy().into_owned())?;
    host.set("pid", std::process::id())?;
    host.set("spawn", lua.create_function(|_, options: Table| spawn(&options))?)?;
    host.set("free_port", lua.create_function(|_, ()| free_port())?)?;
    host.set("note", lua.create_function(|_, args| Ok(note(args)))?)?;
    host.set(
        "run",
        bind::waiting(lua, |lua, args| async move {
            let (command, input, seconds) =
                <(String, Option<String>, f64)>::from_lua_multi(args, &lua)?;
            Ok(mlua::IntoLuaMulti::into_lua_multi(run(command, input, seconds).await?, &lua)?)
        })?,
    )?;
    // The VM itself would keep itself alive in its own function.
    host.set(
        "check",
        lua.create_function(
            move |lua, (definition, parent, entity): (Table, Option<Table>, Value)| {
                let vm = Vm { lua: lua.clone() };
                check(lua, &vm, &definition, parent.as_ref(), entity)
            },
        )?,
    )?;
    server::install(lua, &host)?;
    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    preload.set("silverback.spec", lua.create_function(move |_, _: String| Ok(host.clone()))?)
}

/// A port that nobody listens on. Another process may take it before it is used; there is no way to
/// tell a gateway's clients in advance otherwise.
fn free_port() -> mlua::Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(mlua::Error::external)?;
    listener.local_addr().map(|address| address.port()).map_err(mlua::Error::external)
}

/// Keeps a value for the next spec file, or gives one that an earlier file has kept.
fn note((name, value): (String, Option<String>)) -> Option<String> {
    with_common(|common| match value {
        Some(value) => common.notes.insert(name, value),
        None => common.notes.get(&name).cloned(),
    })
}

/// A process. It ends with the VM that started it, unless it is to be kept.
struct Process {
    pid: u32,
    keep: bool,
}

/// Starts this binary: `args`, `env` over this process' own, `unset` taken out of it, `output` a
/// file for both of its outputs.
fn spawn(options: &Table) -> mlua::Result<Process> {
    let program = std::env::current_exe().map_err(mlua::Error::external)?;
    let mut command = Command::new(program);
    command.args(options.get::<Vec<String>>("args")?).stdin(Stdio::null());
    for name in options.get::<Option<Vec<String>>>("unset")?.unwrap_or_default() {
        command.env_remove(name);
    }
    command.envs(options.get::<HashMap<String, String>>("env")?);
    let path: String = options.get("output")?;
    let log = OpenOptions::new().create(true).append(true).open(&path);
    let log = log.map_err(|error| mlua::Error::runtime(format!("{path}: {error}")))?;
    command.stdout(log.try_clone().map_err(mlua::Error::external)?).stderr(log);
    // Under the lock: whoever ends all children must not miss one.
    let pid = with_common(|common| {
        if common.is_over {
            return Err(mlua::Error::runtime("the run ends"));
        }
        let child = command.spawn().map_err(mlua::Error::external)?;
        let pid = child.id();
        common.children.insert(pid, child);
        Ok(pid)
    })?;
    Ok(Process { pid, keep: options.get::<Option<bool>>("keep")?.unwrap_or_default() })
}

/// Sends a signal with the system's own tool: a call of our own would be unsafe code.
fn send(pid: u32, name: &str) -> bool {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    sent.is_ok_and(|sent| sent.success())
}

/// The exit status of a process that has ended; -1 after a signal.
fn status(pid: u32) -> Option<i32> {
    with_common(|common| {
        let Some(child) = common.children.get_mut(&pid) else { return Some(-1) };
        let status = child.try_wait().ok()??;
        common.children.remove(&pid);
        Some(status.code().unwrap_or(-1))
    })
}

impl UserData for Process {
    fn add_fields<F: mlua::UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("pid", |_, process| Ok(process.pid));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("status", |_, process, ()| Ok(status(process.pid)));
        methods.add_method("signal", |_, process, name: String| Ok(send(process.pid, &name)));
        methods.add_async_method("wait", |_, process, seconds: f64| async move {
            const LOOK: Duration = Duration::from_millis(10);
            let began = Instant::now();
            loop {
                if let Some(status) = status(process.pid) {
                    return Ok(Some(status));
                } else if began.elapsed().as_secs_f64() >= seconds {
                    return Ok(None);
                }
                tokio::time::sleep(LOOK).await;
            }
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = match self.keep {
            false => with_common(|common| common.children.remove(&self.pid)),
            true => None,
        };
        if let Some(mut child) = child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A shell that runs, until this is dropped.
struct Shell(Option<u32>);

impl Shell {
    fn note(pid: Option<u32>) -> Self {
        if let Some(pid) = pid {
            with_common(|common| common.shells.insert(pid));
        }
        Self(pid)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            with_common(|common| common.shells.remove(&pid));
        }
    }
}

/// Runs a shell command: its status, standard output and standard error.
async fn run(
    command: String,
    input: Option<String>,
    seconds: f64,
) -> mlua::Result<(i32, mlua::BString, mlua::BString)> {
    use tokio::io::AsyncWriteExt as _;
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", &command]).kill_on_drop(true);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn().map_err(mlua::Error::external)?;
    let _noted = Shell::note(child.id());
    let mut stdin = child.stdin.take();
    let feed = async {
        if let (Some(stdin), Some(input)) = (&mut stdin, &input) {
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        drop(stdin);
    };
    let limit = Duration::try_from_secs_f64(seconds).map_err(mlua::Error::external)?;
    let both = async { tokio::join!(feed, child.wait_with_output()).1 };
    match tokio::time::timeout(limit, both).await {
        Ok(output) => {
            let output = output.map_err(mlua::Error::external)?;
            Ok((output.status.code().unwrap_or(-1), output.stdout.into(), output.stderr.into()))
        }
        Err(_) => Ok((-1, "".into(), format!("{command}: longer than {seconds} seconds").into())),
    }
}

/// An entity with its defaults, and Kong's error tree if something is wrong with it. With a
/// `parent`, the definition is that of a plugin and the parent that of all plugins.
fn check(
    lua: &Lua,
    vm: &Vm,
    definition: &Table,
    parent: Option<&Table>,
    entity: Value,
) -> mlua::Result<(Value, Option<Value>)> {
    let entity = json::from_lua(lua, entity)?;
    let checked = schema::check(vm, definition, parent, entity).map_err(mlua::Error::runtime)?;
    let Checked { entity, errors } = checked;
    let entity = json::to_lua(lua, &entity)?;
    if errors.is_empty() {
        return Ok((entity, None));
    }
    let tree = lua.create_table()?;
    errors.iter().try_for_each(|error| graft(lua, &tree, error))?;
    Ok((entity, Some(Value::Table(tree))))
}

/// Puts an error into Kong's tree: texts at the places of values, lists under `@entity`.
fn graft(lua: &Lua, tree: &Table, error: &Error) -> mlua::Result<()> {
    // Kong does not name the entry of a map that is wrong.
    let key = |step: &Step| match step {
        Step::Field(name) => Some(name.as_str().into_lua(lua)),
        Step::Index(index) => Some((index + 1).into_lua(lua)),
        Step::Key(_) => None,
    };
    let mut path = error.path.iter().filter_map(key).collect::<mlua::Result<Vec<_>>>()?;
    if error.of_record {
        path.push("@entity".into_lua(lua)?);
    }
    let Some(last) = path.pop() else {
        return tree.set("@entity", vec![error.message.as_str()]);
    };
    let mut at = tree.clone();
    for step in path {
        at = match at.get::<Value>(&step)? {
            Value::Table(inner) => inner,
            _ => {
                let inner = lua.create_table()?;
                at.set(step, &inner)?;
                inner
            }
        };
    }
    if !error.of_record {
        return at.set(last, error.message.as_str());
    }
    match at.get::<Value>(&last)? {
        Value::Table(list) => list.push(error.message.as_str()),
        _ => at.set(last, vec![error.message.as_str()]),
    }
}
