//! `silverback explain`: which Route a request meets and why, what runs on it, and where it goes.
//!
//! The request is made as a connection would make it and routed by the server's own code; nothing
//! is sent and no plugin runs. What was found (`story`) is printed for people or for scripts.

mod ask;
mod json;
mod print;
mod story;

use std::process::ExitCode;
use std::sync::Arc;

use super::{ExplainArgs, Outcome, USAGE, complain, print as say, run, settings};
use crate::gateway::Control;
use crate::loader;
use crate::settings::Flags;
use crate::shared::Shared;
use crate::tls;
use ask::Asked;
use story::Story;

pub(super) fn explain(args: &ExplainArgs) -> Outcome {
    let read = settings(&Flags::new(), args.conf.as_deref())?;
    let asked = match Asked::new(args, &read.settings) {
        Ok(asked) => asked,
        Err(error) => return Ok(usage(&error)),
    };
    let inputs = loader::inputs(&run::files(&args.files, &read.settings)?)?;
    tls::install_provider();
    let control = Control::start().map_err(|error| vec![error.to_string()])?;
    let shared = Arc::new(Shared::new(read.settings, control.handle.clone(), None)?);
    let compiled = loader::compile(&shared, &inputs).map_err(|refused| refused.lines())?;
    let story = match Story::new(&compiled, &shared, asked) {
        Ok(story) => story,
        Err(error) => return Ok(usage(&error)),
    };
    say(&match args.json {
        true => format!("{:#}\n", json::report(&story, &compiled.snapshot)),
        false => print::page(&story, &compiled.snapshot),
    });
    control.stop();
    Ok(ExitCode::SUCCESS)
}

fn usage(error: &str) -> ExitCode {
    complain(error);
    ExitCode::from(USAGE)
}
