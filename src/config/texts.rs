//! The texts of a configuration: variables put in, then YAML or JSON.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::node::{Data, Fault, Node, Pos};
use super::problem::{At, Kong, Path, Report};
use super::{Source, env, json, yaml};
use crate::settings::Env;

/// What the texts of a configuration had in them.
#[derive(Default)]
pub(super) struct Texts {
    hash: Sha256,
    /// Values of variables, by name.
    used: BTreeMap<String, String>,
}

impl Texts {
    /// The trees of all texts; a text that cannot be read has none, and errors.
    pub(super) fn read_all(
        &mut self,
        sources: &[Source],
        env: &Env,
        report: &mut Report,
    ) -> Vec<Node> {
        if sources.is_empty() {
            let at = At { document: 0, path: &Path::default(), pos: Pos::default() };
            report.error(at, "there is no configuration to load");
        }
        let mut read = |(file, source)| self.read(file, source, env, report);
        sources.iter().enumerate().filter_map(&mut read).collect()
    }

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
                for Fault { pos, message, .. } in broken.faults {
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
                faults.into_iter().for_each(|fault| tell(fault, &at, report));
                None
            }
        }
    }

    /// 32 hexadecimal characters, as Kong's configuration hash has.
    pub(super) fn hash(self) -> String {
        self.hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Puts placeholders in place of the values of variables.
    pub(super) fn hide_secrets(&self, text: &mut String) {
        self.replace(text, |name, _| format!("${{{{ env \"{name}\" }}}}"));
    }

    /// The same for a value of a dump: the placeholder can be read again, in quotes of any kind.
    pub(super) fn mask_secrets(&self, text: &mut String, mask: &str) {
        let breaks_quotes = |c: char| c.is_control() || matches!(c, '"' | '\'' | '\\');
        self.replace(text, |name, value| match value.contains(breaks_quotes) {
            true => mask.to_owned(),
            false => format!("${{{{ env `{name}` }}}}"),
        });
    }

    fn replace(&self, text: &mut String, with: impl Fn(&str, &str) -> String) {
        const SHORTEST: usize = 6; // shorter values are words and numbers, not secrets
        let is_secret = |(_, value): &(&String, &String)| {
            value.len() >= SHORTEST && text.contains(value.as_str())
        };
        let mut secrets: Vec<_> = self.used.iter().filter(is_secret).collect();
        // A value that begins with another one would be left with its end in sight.
        secrets.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
        for (name, value) in secrets {
            *text = text.replace(value, &with(name, value));
        }
    }
}

/// Kong's words, and where our reader stopped: theirs have the place of the last thing before it.
fn tell<'a>(fault: Fault, at: &impl Fn(Pos) -> At<'a>, report: &mut Report) {
    const FAILED: &str = "failed parsing declarative configuration";
    let Fault { pos, message, kong } = fault;
    let Pos { line, column, .. } = pos;
    let Some(kong) = kong else {
        report.error(at(pos), format!("{FAILED}: {line}:{column}: {message}")).kong = Kong::Own;
        return;
    };
    let is_all = kong == format!("{line}:{column}: {message}");
    let hint = (!is_all).then(|| format!("the reader stopped at {line}:{column}: {message}"));
    report.error(at(pos), format!("{FAILED}: {kong}")).hint = hint;
}

/// Kong: a `.json` file is JSON only, anything else is JSON if it can be, or else YAML.
fn parse(name: &str, text: &str, origin: &env::Origin) -> Result<Node, Vec<Fault>> {
    let is_json = name.ends_with(".json")
        || (text.trim_start().starts_with('{') && json::syntax(text, origin).is_ok());
    if is_json {
        return json::parse(text, origin);
    }
    let mut root = yaml::parse(text, origin)?;
    // To Kong's reader a null is an empty table, but a text of nothing but comments is none.
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    if root.is_null() && text.lines().any(says) {
        root.data = Data::Map(Vec::new());
    }
    Ok(root)
}
