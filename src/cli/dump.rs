//! `silverback config dump`.

use std::process::ExitCode;

use super::{DumpArgs, Outcome, complain, print, run, settings};
use crate::loader;
use crate::settings::Flags;

pub(super) fn dump(args: &DumpArgs) -> Outcome {
    let read = settings(&Flags::new(), args.conf.as_deref())?;
    let inputs = loader::inputs(&run::files(&args.files, &read.settings)?)?;
    let dump = loader::dump(&read.settings, &inputs, args.with_secrets)
        .map_err(|refused| refused.lines())?;
    let warnings = read.warnings.into_iter();
    for warning in warnings.chain(dump.warnings.iter().map(ToString::to_string)) {
        complain(&format!("warning: {warning}"));
    }
    print(&match args.json {
        true => format!("{:#}\n", dump.document),
        false => dump.yaml(),
    });
    Ok(ExitCode::SUCCESS)
}
