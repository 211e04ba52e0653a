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

/// So many faults are told; each may have cost a look at the rest of the text.
const MAX_FAULTS: usize = 100;

/// A text some of whose placeholders have no value.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) faults: Vec<Fault>,
    /// The text with [`STAND_IN`] where a value is missing: its structure tells the fields.
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// What stands for a value that is missing.
const STAND_IN: &str = "x";

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
pub(super) fn substitute(text: &str, file: usize, env: &Env) -> Result<Rendered, Broken> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.contains(OPEN) {
        let (text, origin) = (text.to_owned(), Origin::of_file(file));
        return Ok(Rendered { text, origin, used: Vec::new() });
    }
    let mut writer = Writer {
        env,
        file,
        line: Line::Blank,
        source: Cursor { line: 1, column: 1 },
        out: Cursor { line: 1, column: 1 },
        text: String::with_capacity(text.len()),
        seams: Vec::new(),
        used: Vec::new(),
        faults: Vec::new(),
    };
    writer.run(text);
    let (text, origin) = (writer.text, Origin { file, seams: writer.seams });
    match writer.faults {
        faults if faults.is_empty() => Ok(Rendered { text, origin, used: writer.used }),
        faults => Err(Broken { faults, text, origin }),
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

/// What the line of the file holds up to here.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Line {
    Blank,
    Comment,
    Text,
}

struct Writer<'a> {
    env: &'a Env,
    file: usize,
    line: Line,
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
        while let Some(at) = rest.find(OPEN) {
            self.copy(&rest[..at]);
            rest = &rest[at..];
            let length = if self.line == Line::Comment {
                let length = rest.find('\n').unwrap_or(rest.len());
                self.copy(&rest[..length]);
                length
            } else {
                self.placeholder(rest)
            };
            rest = &rest[length..];
            if self.faults.len() >= MAX_FAULTS || self.text.len() > MAX_TEXT {
                return;
            }
        }
        self.copy(rest);
    }

    /// Fills in the placeholder at the beginning of `text`; its length in bytes.
    fn placeholder(&mut self, text: &str) -> usize {
        self.line = Line::Text;
        let pos = self.pos();
        let length = match template::read(&text[OPEN.len()..]) {
            Ok(action) => {
                self.seam(true);
                self.put(&action, pos);
                let length = OPEN.len() + action.length;
                self.source.pass(&text[..length]);
                self.seam(false);
                length
            }
            Err(error) => {
                self.faults.push(Fault::new(pos, error.to_string()));
                self.copy(OPEN);
                OPEN.len()
            }
        };
        if self.text.len() > MAX_TEXT {
            let message = "the text is too large after the variables were put in";
            self.faults.push(Fault::new(pos, message));
        }
        length
    }

    fn put(&mut self, action: &template::Action, pos: Pos) {
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
            Err(error) => {
                self.faults.push(Fault::new(pos, error.to_string()));
                self.text.push_str(STAND_IN);
                self.out.pass(STAND_IN);
            }
        }
    }

    fn copy(&mut self, text: &str) {
        let line = match text.rfind('\n') {
            Some(end) => {
                self.line = Line::Blank;
                &text[end + 1..]
            }
            None => text,
        };
        if let (Line::Blank, Some(first)) = (self.line, line.trim_start().chars().next()) {
            self.line = if first == '#' { Line::Comment } else { Line::Text };
        }
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

#[cfg(test)]
mod tests;
