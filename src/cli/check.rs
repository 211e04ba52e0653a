//! `silverback check`.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::json;

use super::{CheckArgs, Outcome, complain, print, settings};
use crate::gateway::Control;
use crate::loader;
use crate::settings::Flags;
use crate::shared::Shared;
use crate::tls;

pub(super) fn check(args: &CheckArgs) -> Outcome {
    let read = settings(&Flags::new(), args.conf.as_deref())?;
    let inputs = loader::inputs(&args.files)?;
    tls::install_provider();
    let control = Control::start().map_err(|error| vec![error.to_string()])?;
    let shared = Arc::new(Shared::new(read.settings, control.handle.clone(), None)?);
    let (errors, mut warnings) = match loader::compile(&shared, &inputs) {
        Ok(compiled) => (Vec::new(), compiled.warnings),
        Err(errors) => (errors, Vec::new()),
    };
    warnings.splice(0..0, read.warnings);
    let failed = !errors.is_empty() || args.strict && !warnings.is_empty();
    if args.json {
        let report = json!({"ok": !failed, "errors": errors, "warnings": warnings});
        print(&format!("{report:#}\n"));
    } else {
        for warning in &warnings {
            complain(&format!("warning: {warning}"));
        }
        for error in &errors {
            complain(error);
        }
        if !failed {
            print(&format!("{}: ok\n", args.files.join(", ")));
        } else if errors.is_empty() {
            complain("warnings fail with --strict");
        }
    }
    control.stop();
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
