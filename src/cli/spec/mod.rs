//! `silverback spec`: runs Lua specs inside the runtime that plugins run in.

mod pattern;
mod progress;
mod report;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::LocalSet;

use self::progress::Progress;
pub(super) use self::report::Output;
use self::report::Report;
use super::{Outcome, SpecArgs, USAGE, complain, settings};
use crate::gateway::Control;
use crate::lua::{self, Case, Network, Options, Spec, Vm, Watch};
use crate::settings::Flags;
use crate::shared::Shared;
use crate::{server, telemetry, tls};

pub(super) fn run(args: &SpecArgs) -> Outcome {
    let files = match pattern::check(args).and_then(|()| files(&args.paths)) {
        Ok(files) => files,
        Err(error) => {
            complain(&error);
            return Ok(ExitCode::from(USAGE));
        }
    };
    let read = settings(&Flags::new(), args.conf.as_deref())?;
    let level = args.log_level.as_deref().unwrap_or("warn");
    telemetry::start_logs(level, read.settings.log_format);
    for warning in &read.warnings {
        tracing::warn!("{warning}");
    }
    tls::install_provider();
    let control = Control::start().map_err(|error| vec![error.to_string()])?;
    let shared = Shared::new(read.settings, control.handle.clone(), None)?;
    let runtime = server::single_thread().map_err(|error| vec![error.to_string()])?;
    let progress = Progress::start(Report::new(args.output), Duration::from_secs(args.timeout));
    progress.end_at_signals(&control.handle).map_err(|error| vec![error.to_string()])?;
    let fails = Cell::new(false);
    let seen = Rc::new(Seen { progress, fails, stops_early: args.fail_fast });
    for file in &files {
        let local = LocalSet::new();
        local.block_on(&runtime, run_file(file, args, &shared, &seen));
        if seen.stops() {
            break;
        }
    }
    let cases = seen.progress.finish();
    lua::end_children();
    control.stop();
    if let (0, Some(reason)) = (cases, pattern::why_none(args)) {
        complain(&reason);
        return Ok(ExitCode::from(USAGE));
    }
    Ok(if seen.fails.get() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs one file in a VM of its own: no file sees what another has changed.
async fn run_file(file: &Path, args: &SpecArgs, shared: &Shared, seen: &Rc<Seen>) {
    let path = file.display().to_string();
    seen.progress.begin("", &path);
    let outcome = match std::fs::read_to_string(file) {
        Err(error) => Err(error.to_string()),
        Ok(source) => {
            let spec = Spec {
                path: path.clone(),
                source,
                filter: args.filter.clone(),
                filter_out: args.filter_out.clone(),
                tags: args.tags.clone(),
                exclude_tags: args.exclude_tags.clone(),
                timeout: Duration::from_secs(args.timeout),
            };
            run_spec(&spec, shared, seen).await
        }
    };
    if let Err(message) = outcome {
        seen.end(Case {
            name: path.clone(),
            place: path,
            outcome: lua::Outcome::Error,
            message,
            trace: None,
            took: Duration::ZERO,
        });
    }
}

async fn run_spec(spec: &Spec, shared: &Shared, seen: &Rc<Seen>) -> Result<(), String> {
    let network = Some(Network::of(shared));
    let common = Options::of(&shared.settings, &Arc::default());
    let options = Options { worker: Some(0), network, ..common };
    let vm = Vm::new(&options).map_err(|error| error.to_string())?;
    vm.use_snapshot(&Arc::default());
    vm.run_spec(spec, seen.clone()).await.map_err(|error| error.to_string())
}

/// What has been seen of the cases so far.
struct Seen {
    progress: Arc<Progress>,
    fails: Cell<bool>,
    stops_early: bool,
}

impl Watch for Seen {
    fn begin(&self, name: &str, place: &str) {
        self.progress.begin(name, place);
    }

    fn step(&self, what: &str) {
        self.progress.step(what);
    }

    fn end(&self, case: Case) {
        if matches!(case.outcome, lua::Outcome::Failure | lua::Outcome::Error) {
            self.fails.set(true);
        }
        self.progress.end(case);
    }

    fn stops(&self) -> bool {
        self.stops_early && self.fails.get()
    }
}

/// The files to run: those that are named, and `*_spec.lua` below folders, in order.
fn files(paths: &[String]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in paths.iter().map(Path::new) {
        if path.is_dir() {
            let before = files.len();
            collect(path, &mut files).map_err(|error| format!("{}: {error}", path.display()))?;
            if files.len() == before {
                return Err(format!("{}: no *_spec.lua in this folder", path.display()));
            }
        } else if path.is_file() {
            files.push(path.to_owned());
        } else {
            return Err(format!("{}: no such file or folder", path.display()));
        }
    }
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut entries: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            continue;
        }
        // A link to a folder that holds it would have no end.
        if path.is_dir() && !path.is_symlink() {
            collect(&path, files)?;
        } else if name.ends_with("_spec.lua") && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
