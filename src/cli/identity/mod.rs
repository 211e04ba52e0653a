//! `silverback identity`: as whom the gateway would call Azure, and whether Azure lets it in.
//!
//! It reads a configuration as `run` does (`survey`), tries every identity and every target once
//! (`ask`), and says what came of it (`print`, `json`). Nothing is served, no model runs.

mod ask;
mod json;
mod print;
mod progress;
pub(super) mod survey;
mod trouble;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::LocalSet;

use super::{IdentityArgs, Outcome, USAGE, complain, print as say, run, settings};
use crate::gateway::Control;
use crate::loader;
use crate::server;
use crate::settings::{Env, Flags};
use crate::shared::Shared;
use crate::tls::{self, Policies};
use ask::{Results, State};
use progress::{Kind, Progress};
use survey::Survey;

pub(super) fn identity(args: &IdentityArgs) -> Outcome {
    let outcome = try_all(args);
    Ok(outcome.unwrap_or_else(|errors| refuse(args, &errors, &[], ExitCode::FAILURE)))
}

fn try_all(args: &IdentityArgs) -> Outcome {
    let read = settings(&Flags::new(), args.conf.as_deref())?;
    let inputs = run::inputs(&args.files, &read.settings)?;
    tls::install_provider();
    let control = Control::start().map_err(|error| vec![error.to_string()])?;
    let shared = Arc::new(Shared::new(read.settings, control.handle.clone(), None)?);
    let compiled = match loader::compile(&shared, &inputs) {
        Ok(compiled) => compiled,
        Err(refused) => {
            return Ok(refuse(args, &refused.lines(), &read.warnings, ExitCode::FAILURE));
        }
    };
    let of_files = compiled.warnings.iter().map(ToString::to_string);
    let warnings: Vec<_> = read.warnings.into_iter().chain(of_files).collect();
    let survey = Survey::new(compiled);
    let survey = match &args.target {
        None => survey,
        Some(name) => match survey.keep(name) {
            Ok(survey) => survey,
            Err(errors) => return Ok(refuse(args, &errors, &[], ExitCode::from(USAGE))),
        },
    };
    let results = if args.offline { ask::offline(&survey) } else { ask(args, &shared, &survey)? };
    let ok = is_well(&results);
    if args.json {
        say(&format!("{:#}\n", json::report(&survey, &results, ok, &warnings)));
    } else {
        for warning in &warnings {
            complain(&format!("warning: {warning}"));
        }
        say(&print::print(&survey, &results, has_colour(&shared.settings.env)));
    }
    control.stop();
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn refuse(args: &IdentityArgs, errors: &[String], warnings: &[String], code: ExitCode) -> ExitCode {
    if args.json {
        say(&format!("{:#}\n", json::refused(errors, warnings)));
        return code;
    }
    for warning in warnings {
        complain(&format!("warning: {warning}"));
    }
    for error in errors {
        complain(error);
    }
    code
}

/// Calls everybody, on this thread; tokens come from the control thread.
fn ask(args: &IdentityArgs, shared: &Shared, survey: &Survey) -> Result<Results, Vec<String>> {
    let runtime = server::single_thread().map_err(|error| vec![error.to_string()])?;
    let policies = Policies::new(&shared.tls, &survey.snapshot)?;
    let patience = Duration::from_secs(args.timeout.into());
    let err = std::io::stderr();
    let kind = kind(args.json, err.is_terminal(), &shared.settings.env);
    let everything = async {
        let progress = Progress::new(kind, Box::new(err), ask::steps(survey));
        let results = tokio::select! {
            results = ask::ask(shared, survey, &policies, patience, &progress) => Some(results),
            () = progress.tick() => None,
        };
        progress.clear();
        results
    };
    let results = LocalSet::new().block_on(&runtime, everything);
    results.ok_or_else(|| vec!["the questions ended without a result".to_owned()])
}

fn is_well(results: &Results) -> bool {
    let has_token = |token: &Option<std::rc::Rc<ask::Exchanged>>| {
        token.as_ref().is_none_or(|exchanged| exchanged.outcome.is_ok())
    };
    results.tokens.iter().all(has_token)
        && results.answers.iter().all(|answer| answer.state != State::Failed)
}

fn kind(is_for_script: bool, is_terminal: bool, env: &Env) -> Kind {
    match (is_for_script, is_terminal && !is_dumb(env)) {
        (true, _) => Kind::Silent,
        (false, true) => Kind::Line,
        (false, false) => Kind::Lines,
    }
}

/// Colour is for terminals whose owner does not object (no-color.org).
fn has_colour(env: &Env) -> bool {
    std::io::stdout().is_terminal() && env.get("NO_COLOR").is_none() && !is_dumb(env)
}

/// Such a terminal shows control sequences instead of obeying them.
fn is_dumb(env: &Env) -> bool {
    env.get("TERM") == Some("dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dumb_terminal_gets_no_control_sequences() {
        let env = |name| [("TERM", name)].into_iter().collect();
        assert_eq!(kind(false, true, &env("xterm")), Kind::Line);
        assert_eq!(kind(false, true, &env("dumb")), Kind::Lines);
        assert_eq!(kind(false, false, &env("xterm")), Kind::Lines);
        assert_eq!(kind(true, true, &env("xterm")), Kind::Silent);
    }
}
