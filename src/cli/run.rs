//! `silverback run`.

use std::future::poll_fn;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use notify::{RecursiveMode, Watcher};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::{Outcome, RunArgs, settings};
use crate::config::Source;
use crate::gateway::{Gateway, Start, default_file};
use crate::loader::{self, Input};
use crate::settings::{Flags, Settings};
use crate::{server, telemetry};

/// Status after a second stop signal: what a shell shows for an interrupted program.
const INTERRUPTED: i32 = 130;

pub(super) fn run(args: &RunArgs) -> Outcome {
    let read = settings(&flags(args), args.conf.as_deref())?;
    telemetry::start_logs(&read.settings.log_level, read.settings.log_format);
    for warning in &read.warnings {
        tracing::warn!("{warning}");
    }
    let inputs = inputs(&args.files, &read.settings)?;
    let watched = Watched::new(&inputs, &read.settings);
    let signals = Signals::new()?;
    let gateway = Gateway::start(Start { settings: read.settings, inputs, names: None })?;
    announce(&gateway);
    let _watcher = watch(watched, gateway.reload_trigger());
    serve(gateway, signals, || {
        let read = settings(&flags(args), args.conf.as_deref());
        read.map(|read| Some(read.settings.log_level))
    })
}

fn flags(args: &RunArgs) -> Flags {
    let given = [
        ("proxy_listen", &args.proxy_listen),
        ("admin_listen", &args.admin_listen),
        ("status_listen", &args.status_listen),
        ("nginx_worker_processes", &args.workers),
        ("log_level", &args.log_level),
        ("silverback_log_format", &args.log_format),
        ("silverback_drain_secs", &args.drain_secs),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))).collect()
}

/// Arguments, else `declarative_config`, else `declarative_config_string` (in Kong's order), else
/// `kong.yaml` or `kong.yml` in this folder.
pub(super) fn inputs(named: &[String], settings: &Settings) -> Result<Vec<Input>, Vec<String>> {
    if !named.is_empty() {
        return loader::inputs(named);
    }
    if let Some(file) = &settings.declarative_config {
        return loader::inputs(std::slice::from_ref(file));
    }
    if let Some(text) = &settings.declarative_config_string {
        let name = "declarative_config_string".to_owned();
        return Ok(vec![Input::Text(Source { name, text: text.expose().to_owned() })]);
    }
    let found = default_file().map(|file| vec![Input::Path(file)]);
    found.ok_or_else(|| {
        vec![
            "no configuration: name a file, set KONG_DECLARATIVE_CONFIG, or put a kong.yaml \
              into this folder (`silverback quickstart` needs none)"
                .to_owned(),
        ]
    })
}

fn announce(gateway: &Gateway) {
    for address in &gateway.addresses {
        tracing::info!("proxy listens on {address}");
    }
    for address in &gateway.status_addresses {
        tracing::info!("status on http://{address}/status");
    }
}

/// Serves until a signal says otherwise. `log_level` reads the settings again: this one of them may
/// change while the gateway runs.
pub(super) fn serve(
    gateway: Gateway,
    mut signals: Signals,
    log_level: impl Fn() -> Result<Option<String>, Vec<String>>,
) -> Outcome {
    let reload = gateway.reload_trigger();
    loop {
        match signals.next() {
            Order::Reload => {
                tracing::info!("HUP: loading the configuration again");
                // Not waited for: a stop signal must be heard while a load takes long.
                reload();
                match log_level() {
                    Ok(level) => level.iter().for_each(|level| gateway.set_log_level(level)),
                    Err(errors) => errors
                        .iter()
                        .for_each(|error| tracing::error!("the log level stays: {error}")),
                }
            }
            Order::Reopen => {
                tracing::info!("USR1: opening the access log anew");
                gateway.reopen_logs();
            }
            Order::Nothing(name) => tracing::warn!("{name} does nothing here"),
            Order::Stop => break,
        }
    }
    tracing::info!("draining; a second signal ends at once");
    let (done, drained) = oneshot::channel();
    std::thread::spawn(move || {
        gateway.drain();
        let _ = done.send(());
    });
    if signals.stop_before(drained) {
        std::process::exit(INTERRUPTED);
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Reload,
    /// Log files have been moved away.
    Reopen,
    /// It means something to nginx: a script that was written for Kong must not end the process.
    Nothing(&'static str),
    Stop,
}

/// What the signals of nginx and Kong mean here.
const ORDERS: [(SignalKind, Order); 6] = [
    (SignalKind::hangup(), Order::Reload),
    (SignalKind::user_defined1(), Order::Reopen),
    (SignalKind::user_defined2(), Order::Nothing("USR2")),
    (SignalKind::terminate(), Order::Stop),
    (SignalKind::interrupt(), Order::Stop),
    (SignalKind::quit(), Order::Stop),
];

/// The signals of the process. Until they are taken, each of them kills: so they are taken before
/// anybody is told that the gateway is there.
pub(super) struct Signals {
    runtime: Runtime,
    taken: Vec<(Signal, Order)>,
}

impl Signals {
    /// Takes the signals.
    pub(super) fn new() -> Result<Self, Vec<String>> {
        let failed = |error: std::io::Error| vec![format!("signals: {error}")];
        let runtime = server::single_thread().map_err(failed)?;
        let taken = {
            let _guard = runtime.enter();
            let take = |(kind, order)| signal(kind).map(|signal| (signal, order)).map_err(failed);
            ORDERS.into_iter().map(take).collect::<Result<_, _>>()?
        };
        Ok(Self { runtime, taken })
    }

    fn next(&mut self) -> Order {
        let Self { runtime, taken } = self;
        runtime.block_on(order(taken))
    }

    /// Waits until a signal says that it is over.
    pub(super) fn wait_for_stop(&mut self) {
        while self.next() != Order::Stop {}
    }

    /// Whether a stop signal comes before `done`.
    fn stop_before(&mut self, mut done: oneshot::Receiver<()>) -> bool {
        let Self { runtime, taken } = self;
        runtime.block_on(async {
            loop {
                tokio::select! {
                    order = order(taken) => {
                        if order == Order::Stop {
                            return true;
                        }
                    }
                    _ = &mut done => return false,
                }
            }
        })
    }
}

async fn order(taken: &mut [(Signal, Order)]) -> Order {
    poll_fn(|cx| {
        let come = taken
            .iter_mut()
            .find_map(|(signal, order)| signal.poll_recv(cx).is_ready().then_some(*order));
        come.map_or(Poll::Pending, Poll::Ready)
    })
    .await
}

/// The paths whose change means a reload, and how they looked before they were loaded.
struct Watched {
    paths: Vec<PathBuf>,
    stamp: Stamp,
}

impl Watched {
    fn new(inputs: &[Input], settings: &Settings) -> Self {
        let paths = inputs.iter().filter_map(|input| match input {
            Input::Path(path) => Some(path.clone()),
            Input::Text(_) => None,
        });
        let certificates = settings.ssl_cert.iter().flat_map(|(cert, key)| [cert, key]);
        let beside = settings.env_file.iter().chain(certificates).cloned();
        let paths: Vec<_> = paths.chain(beside).collect();
        Self { stamp: Stamp::of(&paths), paths }
    }
}

/// Watches the files. Editors and Kubernetes replace files rather than write them, so folders are
/// watched and names compared; a burst of events is one reload.
///
/// Events come at once, but not always: a link may lead to a folder that nobody watches, a network
/// file system has none, and a machine may have no watches left. So the files are also looked at
/// every two seconds.
fn watch(watched: Watched, reload: impl Fn() + Send + 'static) -> Watching {
    let (changed, changes) = mpsc::channel::<()>();
    // What changed since the first load, before there was a watcher, is looked for at once.
    let _ = changed.send(());
    let Watched { paths, stamp } = watched;
    let watching = Watching { _events: events(&paths, changed.clone()), _open: changed };
    std::thread::spawn(move || {
        let mut last = stamp;
        while let Ok(()) | Err(RecvTimeoutError::Timeout) = changes.recv_timeout(LOOK) {
            let now = Stamp::of(&paths);
            if now != last {
                last = settled(now, &paths, &changes);
                reload();
            }
        }
    });
    watching
}

/// How often files are looked at without an event.
const LOOK: Duration = Duration::from_secs(2);

/// How long files must stay as they are before they are loaded.
const SETTLE: Duration = Duration::from_millis(150);

/// Files are watched until it is dropped.
struct Watching {
    _events: Option<notify::RecommendedWatcher>,
    _open: mpsc::Sender<()>,
}

/// Sends word of whatever happens in the folders of these files.
fn events(paths: &[PathBuf], changed: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let notified = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = changed.send(());
        }
    };
    let failed = |error: &notify::Error| {
        tracing::warn!("changes of files take two seconds to be noticed: {error}");
    };
    let mut watcher = notify::recommended_watcher(notified).inspect_err(failed).ok()?;
    for path in paths {
        let folder = match path.is_dir() {
            true => path.as_path(),
            false => path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        };
        let depth =
            if path.is_dir() { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
        if let Err(error) = watcher.watch(folder, depth) {
            failed(&error);
        }
    }
    Some(watcher)
}

/// The look of the files once it stays the same. Other files in their folders may change all the
/// time, so events do not count.
fn settled(mut now: Stamp, paths: &[PathBuf], changes: &mpsc::Receiver<()>) -> Stamp {
    loop {
        let end = Instant::now() + SETTLE;
        let left = || end.saturating_duration_since(Instant::now());
        while changes.recv_timeout(left()).is_ok() {}
        let again = Stamp::of(paths);
        if again == now {
            return now;
        }
        now = again;
    }
}

/// What the watched files looked like: a log that grows beside them is no reason to reload.
#[derive(PartialEq)]
struct Stamp(Vec<(PathBuf, Option<Look>)>);

/// Time of the last change, length, and which file it is: two versions of a mounted secret may
/// have the first two in common.
type Look = (SystemTime, u64, u64);

impl Stamp {
    fn of(paths: &[PathBuf]) -> Self {
        let files = paths.iter().flat_map(|path| match path.is_dir() {
            true => crate::config::files_in(path).unwrap_or_default(),
            false => vec![path.clone()],
        });
        let stamp = |file: PathBuf| {
            let seen = std::fs::metadata(&file).ok();
            let seen = seen.and_then(|meta| Some((meta.modified().ok()?, meta.len(), meta.ino())));
            (file, seen)
        };
        Self(files.map(stamp).collect())
    }
}
