//! `silverback check`.

use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{CheckArgs, Outcome, complain, print, run, settings};
use crate::config::Errors;
use crate::gateway::Control;
use crate::loader::{self, Complaint, Refused};
use crate::settings::Flags;
use crate::shared::Shared;
use crate::{telemetry, tls};

pub(super) fn check(args: &CheckArgs) -> Outcome {
    let read = settings(&Flags::new(), args.conf.as_deref())?;
    telemetry::start_logs("error", read.settings.log_format);
    let inputs = run::inputs(&args.files, &read.settings)?;
    tls::install_provider();
    let control = Control::start().map_err(|error| vec![error.to_string()])?;
    let shared = Arc::new(Shared::new(read.settings, control.handle.clone(), None)?);
    let mut warnings: Vec<_> = read.warnings.into_iter().map(Complaint::plain).collect();
    let refused = match loader::compile(&shared, &inputs) {
        Ok(compiled) => {
            warnings.extend(compiled.warnings);
            None
        }
        Err(refused) => Some(refused),
    };
    control.stop();
    let ok = refused.is_none() && (warnings.is_empty() || !args.strict);
    if args.json {
        print(&format!("{:#}\n", report(ok, refused.as_ref(), &warnings)));
    } else {
        tell(args, refused.as_ref(), &warnings, ok);
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(args: &CheckArgs, refused: Option<&Refused>, warnings: &[Complaint], ok: bool) {
    for warning in warnings {
        complain(&format!("warning: {warning}"));
    }
    for error in refused.iter().flat_map(|refused| refused.lines()) {
        complain(&error);
    }
    if ok {
        let files = match args.files.as_slice() {
            [] => "the configuration".to_owned(),
            files => files.join(", "),
        };
        print(&format!("{files}: ok\n"));
    } else if refused.is_none() {
        complain("warnings fail with --strict");
    }
}

/// What `--json` prints; docs/operations.md describes it.
pub(super) fn report(ok: bool, refused: Option<&Refused>, warnings: &[Complaint]) -> Value {
    let warnings: Vec<_> = warnings.iter().map(complaint).collect();
    let mut report = json!({"ok": ok, "errors": [], "warnings": warnings});
    match refused {
        None => {}
        Some(Refused::Unusable(complaints)) => {
            report["errors"] = complaints.iter().map(complaint).collect();
        }
        Some(Refused::Invalid(errors)) => {
            report["errors"] = with_entities(errors);
            report["kong"] = answer(errors);
        }
    }
    report
}

/// One error or warning; what is not known is null.
fn complaint(complaint: &Complaint) -> Value {
    let place = complaint.place.as_ref();
    json!({
        "file": place.map(|place| &place.file),
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "path": place.map(|place| &place.path).filter(|path| !path.is_empty()),
        "message": complaint.message,
        "hint": complaint.hint,
        "entity": null,
    })
}

fn with_entities(errors: &Errors) -> Value {
    let error = |(problem, subject): (_, Option<&crate::config::Subject>)| {
        let mut error = complaint(&Complaint::from(problem));
        error["entity"] = json!(subject.map(|subject| json!({
            "type": subject.kind,
            "name": subject.name,
            "id": Some(subject.id).filter(|id| !id.is_nil()),
        })));
        error
    };
    errors.with_subjects().map(error).collect()
}

/// What Kong's Admin API answers to such a configuration, both ways in one.
fn answer(errors: &Errors) -> Value {
    json!({
        "code": 14,
        "name": "invalid declarative configuration",
        "message": errors.message(),
        "fields": errors.fields(),
        "flattened_errors": errors.flattened(),
    })
}
