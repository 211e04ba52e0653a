//! Configuration: bytes to dialect to entities to [`Snapshot`], or every error at once.
//!
//! The order is fixed: `${{ env }}` is text substitution, then YAML or JSON, then the entities
//! (decK's and Kong's dialects as one), then schemas, then vault references. An error keeps its
//! file and line through all of it. This is the only place that knows how a configuration is
//! written.

use std::path::{Path as FsPath, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::schema::{Schemas, Step};
use crate::settings::{Env, is_reference};
use crate::snapshot::Snapshot;

mod answer;
mod assemble;
mod collections;
mod draft;
mod dump;
mod edition;
mod emit;
mod env;
mod errors;
mod json;
mod judge;
mod kong;
mod libyaml;
mod links;
mod masked;
mod node;
mod partials;
mod problem;
mod scalar;
mod template;
mod texts;
mod transform;
mod unbuilt;
mod upgrade;
mod vault;
mod yaml;

pub use dump::{Dump, dump};
pub use errors::{Errors, Subject};
pub use problem::{Path, Problem};

use collections::OfPlugins;
use draft::Draft;
use judge::Judged;
use problem::{At, Report};
use texts::Texts;

/// One text to load.
#[derive(Clone)]
pub struct Source {
    /// The file's name, for errors; a name in `.json` makes the text strict JSON (Kong).
    pub name: String,
    /// The text.
    pub text: String,
}

impl std::fmt::Debug for Source {
    /// Without the text, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A configuration that can run.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub snapshot: Snapshot,
    /// What its author should know, in the order of the files.
    pub warnings: Vec<Problem>,
}

/// Loads one configuration from one or more texts, which are merged as decK merges files.
///
/// All errors are reported at once, except that a text that cannot be read hides what it means.
pub fn load(sources: &[Source], schemas: &dyn Schemas, env: &Env) -> Result<Loaded, Errors> {
    let _of_plugins = OfPlugins::new(&schemas.of_plugins());
    let mut reading = Reading::new(sources, schemas, env);
    let mut snapshot = Snapshot::default();
    if reading.is_sound() {
        let Reading { drafts, judged, report, .. } = &mut reading;
        let mut judged = std::mem::take(judged);
        masked::refuse(drafts, &mut judged, report);
        resolve_references(drafts, &mut judged, env, report);
        unbuilt::warn(drafts, &judged, report);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        snapshot = assemble::assemble(drafts, judged, now, report);
    }
    if !reading.is_sound() {
        return Err(reading.refuse());
    }
    let mut warnings = reading.report.warnings;
    problem::sort(&mut warnings);
    Ok(Loaded { snapshot: Snapshot { hash: reading.texts.hash(), ..snapshot }, warnings })
}

/// Texts on their way to a configuration: entities with their defaults, references unresolved.
struct Reading {
    texts: Texts,
    drafts: Vec<Draft>,
    /// In the order of the drafts.
    judged: Vec<Judged>,
    report: Report,
}

impl Reading {
    fn new(sources: &[Source], schemas: &dyn Schemas, env: &Env) -> Self {
        let names = sources.iter().map(|source| source.name.as_str().into()).collect();
        let mut report = Report { names, ..Report::default() };
        let mut texts = Texts::default();
        let documents = texts.read_all(sources, env, &mut report);
        let (mut drafts, mut judged) = (Vec::new(), Vec::new());
        if report.errors.is_empty() {
            let transforms;
            (drafts, transforms) = kong::read(documents, &mut report);
            links::identify(&mut drafts, &report);
            links::connect(&mut drafts, &mut report);
            partials::apply(&mut drafts, schemas, &mut report);
            judged = judge::judge(&drafts, schemas, &mut report);
            if report.errors.is_empty() {
                transform::apply(&drafts, &mut judged, transforms, &mut report);
            }
        }
        Self { texts, drafts, judged, report }
    }

    fn is_sound(&self) -> bool {
        self.report.errors.is_empty()
    }

    fn refuse(self) -> Errors {
        let mut errors = Errors::new(self.report, &self.drafts);
        errors.each_text(|text| self.texts.hide_secrets(text));
        errors
    }
}

/// The configuration files of a folder and the folders in it, sorted: `.yaml`, `.yml`, `.json`.
///
/// Hidden entries and links to folders are left out: a mounted Kubernetes ConfigMap holds every
/// file a second time behind `..data`.
pub fn files_in(folder: &FsPath) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let path = entry.path();
            let is_config = path
                .extension()
                .is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|e| extension == *e));
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if is_config && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn resolve_references(drafts: &[Draft], judged: &mut [Judged], env: &Env, report: &mut Report) {
    let is_vault = |(draft, _): &(&Draft, _)| draft.kind.name == "vaults";
    let entities = drafts.iter().zip(judged.iter()).filter(is_vault);
    let vaults = vault::Vaults::new(env, entities.map(|(_, judged)| &judged.entity));
    for (draft, judged) in drafts.iter().zip(judged) {
        let has_references = draft.kind.name == "certificates"
            && judged
                .entity
                .as_object()
                .into_iter()
                .flatten()
                .any(|(_, value)| value.as_str().is_some_and(is_reference));
        let [of_entity, of_config] = &judged.checks;
        let config = [Step::Field("config".to_owned())];
        let parts = [
            (&mut judged.entity, of_entity, &[] as &[Step]),
            (&mut judged.config, of_config, &config),
        ];
        for (value, check, base) in parts {
            let referenceable = check.as_ref().map(|check| check.referenceable());
            let resolved = vaults.resolve_in(value, referenceable.unwrap_or_default());
            if !base.is_empty() {
                judged.references = resolved.references;
            }
            for (path, reason) in resolved.left {
                let steps = [base, &path].concat();
                let pos = draft.node.locate(&steps);
                let at = At { document: draft.document, path: &draft.path.join(&steps), pos };
                report.warn(at, match reason {
                    Some(reason) => format!(
                        "the vault reference cannot be resolved, and requests that need it will \
                         fail: {reason}"
                    ),
                    None => "this field cannot hold a vault reference; it is taken as it is \
                             written"
                        .to_owned(),
                });
            }
        }
        if let (true, Some(check)) = (has_references, of_entity) {
            for error in check.process(judged.entity.clone()).1 {
                let path = draft.path.join(&error.path);
                let pos = draft.node.locate(&error.path);
                let at = At { document: draft.document, path: &path, pos };
                let hint = "the vault reference was resolved to it".to_owned();
                report.error(at, error.message).hint = Some(hint);
            }
        }
    }
}

#[cfg(test)]
mod tests;
