//! decK's `${{ env "DECK_X" }}`: text substitution ahead of YAML.
//!
//! decK runs a template over the raw text; quoting the result is the author's business. A value
//! may have several lines, so the text keeps an [`Origin`] that leads every position back to the
//! file as it was written.

use crate::config::node::{Fault, Pos};
use crate::config::template;
use crate::settings::Env;

const OPEN: &str = "${{";

/// Largest text after substitution, in bytes.
const MAX_TEXT: usize = 64 << 20;

/// A text with its placeholders filled in.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) text: String,
    pub(super) origin: Origin,
    /// Every variable that was put in, where, and with which value.
    pub(super) used: Vec<Used>,
}

/// A variable that went into a text.
pub(super) struct Used {
    pub(super) pos: Pos,
    pub(super) name: String,
    pub(super) value: String,
}

impl std::fmt::Debug for Used {
    /// Without the value: it may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Used").field("pos", &self.pos).field("name", &self.name).finish()
    }
}

/// Leads positions in a rendered text back to the file.
#[derive(Debug)]
pub(super) struct Origin {
    file: usize,
    /// In the order of the text.
    seams: Vec<Seam>,
}

/// From here on the text comes from `source`.
#[derive(Debug, Clone, Copy)]
struct Seam {
    line: usize,
    column: usize,
    source: (usize, usize),
    /// Put in by a placeholder, all of which is at `source`; otherwise copied from there on.
    is_value: bool,
}

impl Origin {
    /// The origin of a text without placeholders.
    pub(super) fn of_file(file: usize) -> Self {
        Self { file, seams: Vec::new() }
    }

    /// Where a character of the rendered text was written.
    pub(super) fn pos(&self, line: usize, column: usize) -> Pos {
        let after = self.seams.partition_point(|s| (s.line, s.column) <= (line, column));
        let (line, column) = match after.checked_sub(1).map(|i| self.seams[i]) {
            None => (line, column),
            Some(Seam { is_value: true, source, .. }) => source,
            Some(seam) if seam.line == line => {
                (seam.source.0, seam.source.1 + column - seam.column)
            }
            Some(seam) => (seam.source.0 + line - seam.line, column),
        };
        Pos { file: self.file, line, column }
    }
}

/// Fills in the placeholders of a text.
///
/// Lines whose first visible character is `#` are not looked at (decK). All faults are reported.
pub(super) fn substitute(text: &str, file: usize, env: &Env) -> Result<Rendered, Vec<Fault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.contains(OPEN) {
        let (text, origin) = (text.to_owned(), Origin::of_file(file));
        return Ok(Rendered { text, origin, used: Vec::new() });
    }
    let mut writer = Writer {
        env,
        file,
        source: Cursor { line: 1, column: 1 },
        out: Cursor { line: 1, column: 1 },
        text: String::with_capacity(text.len()),
        seams: Vec::new(),
        used: Vec::new(),
        faults: Vec::new(),
    };
    writer.run(text);
    if writer.faults.is_empty() {
        let origin = Origin { file, seams: writer.seams };
        Ok(Rendered { text: writer.text, origin, used: writer.used })
    } else {
        Err(writer.faults)
    }
}

/// A position that moves along a text.
#[derive(Clone, Copy)]
struct Cursor {
    line: usize,
    column: usize,
}

impl Cursor {
    fn pass(&mut self, text: &str) {
        match text.rfind('\n') {
            Some(end) => {
                self.line += text.bytes().filter(|b| *b == b'\n').count();
                self.column = 1 + text[end + 1..].chars().count();
            }
            None => self.column += text.chars().count(),
        }
    }
}

struct Writer<'a> {
    env: &'a Env,
    file: usize,
    source: Cursor,
    out: Cursor,
    text: String,
    seams: Vec<Seam>,
    used: Vec<Used>,
    faults: Vec<Fault>,
}

impl Writer<'_> {
    fn run(&mut self, text: &str) {
        let mut rest = text;
        while let Some(at) = placeholder(rest, self.source.column == 1) {
            self.copy(&rest[..at]);
            rest = &rest[at..];
            let pos = self.pos();
            match template::read(&rest[OPEN.len()..]) {
                Ok(action) => {
                    let length = OPEN.len() + action.length;
                    self.put(&action, pos);
                    self.source.pass(&rest[..length]);
                    rest = &rest[length..];
                    self.seam(false);
                }
                Err(error) => {
                    self.faults.push(Fault::new(pos, error.to_string()));
                    self.copy(&rest[..OPEN.len()]);
                    rest = &rest[OPEN.len()..];
                }
            }
            if self.text.len() > MAX_TEXT {
                let message = "the text is too large after the variables were put in";
                self.faults.push(Fault::new(pos, message));
                return;
            }
        }
        self.copy(rest);
    }

    fn put(&mut self, action: &template::Action, pos: Pos) {
        self.seam(true);
        let mut look_up = |name: &str| {
            // decK knows "set but empty", which `Env::get` does not tell from "not set".
            let value = self.env.iter().find(|(key, _)| *key == name)?.1.to_owned();
            self.used.push(Used { pos, name: name.to_owned(), value: value.clone() });
            Some(value)
        };
        match action.run(&mut look_up) {
            Ok(value) => {
                self.text.push_str(&value);
                self.out.pass(&value);
            }
            Err(error) => self.faults.push(Fault::new(pos, error.to_string())),
        }
    }

    fn copy(&mut self, text: &str) {
        self.text.push_str(text);
        self.source.pass(text);
        self.out.pass(text);
    }

    fn seam(&mut self, is_value: bool) {
        let source = (self.source.line, self.source.column);
        let Cursor { line, column } = self.out;
        self.seams.push(Seam { line, column, source, is_value });
    }

    fn pos(&self) -> Pos {
        Pos { file: self.file, line: self.source.line, column: self.source.column }
    }
}

/// The next placeholder outside of comment lines; `text` may begin inside a line.
fn placeholder(text: &str, at_line_start: bool) -> Option<usize> {
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let is_whole = index > 0 || at_line_start;
        let is_comment = is_whole && line.trim_start().starts_with('#');
        if let (false, Some(at)) = (is_comment, line.find(OPEN)) {
            return Some(start + at);
        }
        start += line.len();
    }
    None
}

#[cfg(test)]
mod tests;
