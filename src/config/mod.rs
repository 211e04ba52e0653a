//! Configuration: bytes to dialect to entities to [`Snapshot`], or every error at once.
//!
//! The order is fixed: `${{ env }}` is text substitution, then YAML or JSON, then the entities
//! (decK's and Kong's dialects as one), then schemas, then vault references. An error keeps its
//! file and line through all of it. This is the only place that knows how a configuration is
//! written.

use std::collections::BTreeMap;
use std::path::{Path as FsPath, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::schema::{Schemas, Step};
use crate::settings::Env;
use crate::snapshot::Snapshot;

mod assemble;
mod collections;
mod draft;
mod edition;
mod env;
mod json;
mod judge;
mod kong;
mod links;
mod node;
mod problem;
mod scalar;
mod template;
mod transform;
mod unbuilt;
mod upgrade;
mod vault;
mod yaml;

pub use problem::{Errors, Path, Problem};

use node::{Fault, Node, Pos};
use problem::{At, Report};

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
    let names = sources.iter().map(|source| source.name.as_str().into()).collect();
    let mut report = Report { names, ..Report::default() };
    let mut texts = Texts::default();
    let documents: Vec<Node> = sources
        .iter()
        .enumerate()
        .filter_map(|(file, source)| texts.read(file, source, env, &mut report))
        .collect();
    if sources.is_empty() {
        let at = At { document: 0, path: &Path::default(), pos: Pos::default() };
        report.error(at, "there is no configuration to load");
    }
    if report.errors.is_empty() {
        let snapshot = build(documents, schemas, env, &mut report);
        if report.errors.is_empty() {
            let mut warnings = report.warnings;
            problem::sort(&mut warnings);
            let hash = texts.hash();
            return Ok(Loaded { snapshot: Snapshot { hash, ..snapshot }, warnings });
        }
    }
    texts.hide_secrets(&mut report.errors);
    Err(Errors::new(report.errors, report.offsets))
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

/// Entities, schemas, references, in this order.
fn build(documents: Vec<Node>, schemas: &dyn Schemas, env: &Env, report: &mut Report) -> Snapshot {
    let (mut drafts, transforms) = kong::read(documents, report);
    links::identify(&mut drafts, report);
    links::connect(&mut drafts, report);
    let mut judged = judge::judge(&drafts, schemas, report);
    if report.errors.is_empty() {
        transform::apply(&drafts, &mut judged, transforms, report);
    }
    if !report.errors.is_empty() {
        return Snapshot::default();
    }
    resolve_references(&drafts, &mut judged, env, report);
    unbuilt::warn(&drafts, &judged, report);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    assemble::assemble(&drafts, judged, now, report)
}

fn resolve_references(
    drafts: &[draft::Draft],
    judged: &mut [judge::Judged],
    env: &Env,
    report: &mut Report,
) {
    let is_vault = |(draft, _): &(&draft::Draft, _)| draft.kind.name == "vaults";
    let entities = drafts.iter().zip(judged.iter()).filter(is_vault);
    let vaults = vault::Vaults::new(env, entities.map(|(_, judged)| &judged.entity));
    for (draft, judged) in drafts.iter().zip(judged) {
        let [of_entity, of_config] = &judged.checks;
        let config = [Step::Field("config".to_owned())];
        let parts = [
            (&mut judged.entity, of_entity, &[] as &[Step]),
            (&mut judged.config, of_config, &config),
        ];
        for (value, check, base) in parts {
            let referenceable = check.as_ref().map(|check| check.referenceable());
            for (path, reason) in vaults.resolve_in(value, referenceable.unwrap_or_default()) {
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
    }
}

/// What the texts of a configuration had in them.
#[derive(Default)]
struct Texts {
    hash: Sha256,
    /// Values of variables, by name.
    used: BTreeMap<String, String>,
}

impl Texts {
    fn read(
        &mut self,
        file: usize,
        source: &Source,
        env: &Env,
        report: &mut Report,
    ) -> Option<Node> {
        let path = Path::default();
        let at = |pos| At { document: file, path: &path, pos };
        let rendered = match env::substitute(&source.text, file, env) {
            Ok(rendered) => rendered,
            Err(broken) => {
                // The structure is the same whatever the value would have been.
                let root = parse(&source.name, &broken.text, &broken.origin).ok();
                for Fault { pos, message } in broken.faults {
                    let path = root.as_ref().map(|root| root.path_to(pos));
                    let path = Path(path.unwrap_or_default());
                    report.error(At { document: file, path: &path, pos }, message);
                }
                return None;
            }
        };
        for used in rendered.used.iter().filter(|used| used.value.is_empty()) {
            let message = format!("environment variable '{}' is set but empty", used.name);
            report.warn(at(used.pos), message);
        }
        self.hash.update(rendered.text.len().to_le_bytes());
        self.hash.update(&rendered.text);
        self.used.extend(rendered.used.into_iter().map(|used| (used.name, used.value)));
        match parse(&source.name, &rendered.text, &rendered.origin) {
            Ok(root) => Some(root),
            Err(faults) => {
                for Fault { pos, message } in faults {
                    let (line, column) = (pos.line, pos.column);
                    let message = format!(
                        "failed parsing declarative configuration: {line}:{column}: {message}"
                    );
                    report.error(at(pos), message);
                }
                None
            }
        }
    }

    /// 32 hexadecimal characters, as Kong's configuration hash has.
    fn hash(self) -> String {
        self.hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Takes the values of variables out of Kong's texts, some of which quote what was written.
    fn hide_secrets(&self, problems: &mut [Problem]) {
        const SHORTEST: usize = 6; // shorter values are words and numbers, not secrets
        let mut secrets: Vec<_> =
            self.used.iter().filter(|(_, value)| value.len() >= SHORTEST).collect();
        // A value that begins with another one would be left with its end in sight.
        secrets.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        for problem in problems {
            for (name, value) in &secrets {
                if problem.message.contains(*value) {
                    let placeholder = format!("${{{{ env \"{name}\" }}}}");
                    problem.message = problem.message.replace(*value, &placeholder);
                }
            }
        }
    }
}

/// Kong: a `.json` file is JSON only, anything else is JSON if it can be, or else YAML.
fn parse(name: &str, text: &str, origin: &env::Origin) -> Result<Node, Vec<Fault>> {
    let is_json = name.ends_with(".json")
        || (text.trim_start().starts_with('{') && json::syntax(text, origin).is_ok());
    if is_json { json::parse(text, origin) } else { yaml::parse(text, origin) }
}

#[cfg(test)]
mod tests;
