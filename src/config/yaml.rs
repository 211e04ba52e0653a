//! YAML text to a tree with positions.
//!
//! Built on the events of a YAML 1.2 scanner. Ours are the parts Kong's and decK's readers have
//! beyond it: YAML 1.1 words, merge keys (`<<`), tabs behind a colon, tags that nobody knows, and
//! bounds on depth and on what aliases unfold to. A key that is given twice is an error, where Kong
//! silently takes the last one.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};
use serde_json::Value;

use super::env::Origin;
use super::libyaml;
use super::node::{Data, Entry, Fault, MAX_DEPTH, Node, Pos};
use super::scalar;

/// How much the aliases of a file may unfold to: about this many values of 32 bytes.
const MAX_UNFOLDED: usize = 1 << 20;

/// Characters that are read once more after a tab was made a space, over all tabs of a text.
const MAX_READ_AGAIN: usize = 1 << 20;

/// So many tabs are for free: a long file with a few of them is none that somebody made up.
const FREE_TABS: usize = 16;

/// Reads one YAML document.
///
/// A syntax error ends the reading; keys given twice are all reported.
pub(super) fn parse(text: &str, origin: &Origin) -> Result<Node, Vec<Fault>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some((line, column)) = libyaml::control_character(text) {
        let mut fault = Fault::new(origin.pos(line, column), libyaml::CONTROL);
        fault.kong = Some(format!("0:0: {}", libyaml::CONTROL));
        return Err(vec![fault]);
    }
    let mut reader = Reader::new(origin);
    let mut text = Cow::Borrowed(text);
    let (mut budget, mut free) = (MAX_READ_AGAIN, FREE_TABS);
    while let Err(stop) = reader.read(&text) {
        match stop {
            Stop::Tab(marker) if free > 0 || budget >= marker.index() => {
                match free {
                    0 => budget -= marker.index(),
                    _ => free -= 1,
                }
                blank_tabs(text.to_mut(), &marker);
                reader = Reader::new(origin);
            }
            Stop::Tab(marker) => reader.faults.push(reader.unexpected_tab(&marker)),
            Stop::Fault(fault) => reader.faults.push(fault),
        }
        if !reader.faults.is_empty() {
            return Err(reader.faults);
        }
    }
    if !reader.faults.is_empty() {
        return Err(reader.faults);
    }
    Ok(reader.root.unwrap_or(Node { pos: origin.pos(1, 1), data: Data::Scalar(Value::Null) }))
}

/// What ends the reading of a text.
enum Stop {
    Fault(Fault),
    /// Tabs between a colon and a value that ends here. To libyaml they are blanks; our scanner
    /// wants a space among them.
    Tab(Marker),
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Puts spaces in place of the tabs in front of a marker.
fn blank_tabs(text: &mut String, marker: &Marker) {
    let line = text.split_inclusive('\n').take(marker.line() - 1).map(str::len).sum::<usize>();
    let column = text[line..].char_indices().nth(marker.col());
    let end = column.map_or(text.len(), |(at, _)| line + at);
    let begin = text[..end].trim_end_matches('\t').len();
    text.replace_range(begin..end, &" ".repeat(end - begin));
}

/// A finished value with what its copies would cost.
#[derive(Clone)]
struct Built {
    node: Node,
    /// Levels of nesting below it.
    height: usize,
    /// Its share of `MAX_UNFOLDED`.
    weight: usize,
}

impl Built {
    fn leaf(pos: Pos, value: Value) -> Self {
        let bytes = value.as_str().map_or(0, str::len);
        Self { node: Node { pos, data: Data::Scalar(value) }, height: 0, weight: 1 + bytes / 32 }
    }
}

/// A list or map whose end has not been seen.
struct Frame {
    pos: Pos,
    anchor: usize,
    height: usize,
    weight: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map(MapFrame),
}

#[derive(Default)]
struct MapFrame {
    entries: Vec<Entry>,
    /// The key whose value comes next.
    key: Option<Key>,
    /// Where each key stands, in the text and among the entries.
    seen: HashMap<String, (Pos, usize)>,
    /// Maps named by `<<`, the most important first.
    merges: Vec<Node>,
    merge_at: Option<Pos>,
}

struct Key {
    text: String,
    pos: Pos,
    is_merge: bool,
    /// Where its value goes among the entries.
    at: usize,
}

struct Reader<'a> {
    origin: &'a Origin,
    frames: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    unfolded: usize,
    root: Option<Node>,
    documents: usize,
    /// Line and column of the last event.
    last: (usize, usize),
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    fn new(origin: &'a Origin) -> Self {
        Self {
            origin,
            frames: Vec::new(),
            anchors: HashMap::new(),
            unfolded: 0,
            root: None,
            documents: 0,
            last: (1, 1),
            faults: Vec::new(),
        }
    }

    fn read(&mut self, text: &str) -> Result<(), Stop> {
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| match error.info() {
                TAB => Stop::Tab(*error.marker()),
                _ => Stop::Fault(self.syntax_error(&error, text)),
            })?;
            let pos = self.pos(&span.start);
            self.last = (span.start.line(), span.start.col() + 1);
            match event {
                Event::DocumentStart(_) => self.documents += 1,
                Event::Scalar(text, style, anchor, tag) => {
                    self.scalar(&text, style, anchor, tag.as_deref(), pos)?;
                }
                Event::Alias(anchor) => self.alias(anchor, pos)?,
                Event::SequenceStart(anchor, _) => {
                    self.open(Content::List(Vec::new()), anchor, pos)?;
                }
                Event::MappingStart(anchor, _) => {
                    self.open(Content::Map(MapFrame::default()), anchor, pos)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close()?,
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            }
        }
        Ok(())
    }

    fn unexpected_tab(&self, marker: &Marker) -> Fault {
        Fault::new(self.pos(marker), "too many tabs behind colons; write spaces")
    }

    /// A fault in our scanner's words and in those of Kong's.
    fn syntax_error(&self, error: &ScanError, text: &str) -> Fault {
        if error.info() == "recursion limit exceeded" {
            return too_deep(self.pos(error.marker()));
        }
        let mut fault = Fault::new(self.pos(error.marker()), error.info().to_ascii_lowercase());
        let stopped = (error.marker().line(), error.marker().col() + 1);
        fault.kong = Some(libyaml::said(text, error.info(), self.last, stopped));
        fault
    }

    /// The scanner counts lines from 1 and columns from 0.
    fn pos(&self, marker: &Marker) -> Pos {
        self.origin.pos(marker.line(), marker.col() + 1)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
        pos: Pos,
    ) -> Result<(), Fault> {
        let plain = style == ScalarStyle::Plain;
        if self.awaits_key() {
            // A key is its text: `on:` names a field "on", not a boolean.
            self.key(text, plain && text == "<<" && tag.is_none(), pos);
            return self.remember(anchor, &Built::leaf(pos, Value::String(text.to_owned())));
        }
        let value = match tag {
            Some(tag) if is_explicit(tag) => tagged(text, tag).map_err(|message| {
                let (line, column) = self.last;
                let kong = Some(format!("{line}:{column}: {message}"));
                Fault { pos, message, kong }
            })?,
            _ if plain => scalar::resolve(text).map_err(|e| Fault::new(pos, e.to_string()))?,
            _ => Value::String(text.to_owned()),
        };
        let built = Built::leaf(pos, value);
        self.remember(anchor, &built)?;
        self.value(built, pos)
    }

    fn alias(&mut self, anchor: usize, pos: Pos) -> Result<(), Fault> {
        let Some(built) = self.anchors.get(&anchor) else {
            return Err(Fault::new(pos, "an alias cannot stand inside the value it names"));
        };
        if self.frames.len() + built.height > MAX_DEPTH {
            return Err(too_deep(pos));
        }
        let built = built.clone();
        self.spend(&built)?;
        if !self.awaits_key() {
            return self.value(built, pos);
        }
        match built.node.as_str() {
            Some(text) => self.key(text, false, pos),
            None => return Err(Fault::new(pos, "a key must be a string")),
        }
        Ok(())
    }

    fn open(&mut self, content: Content, anchor: usize, pos: Pos) -> Result<(), Fault> {
        if self.awaits_key() {
            return Err(Fault::new(pos, "a key must be a string"));
        }
        if self.frames.len() >= MAX_DEPTH {
            return Err(too_deep(pos));
        }
        self.frames.push(Frame { pos, anchor, height: 0, weight: 1, content });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let data = match frame.content {
            Content::List(items) => Data::List(items),
            Content::Map(map) => Data::Map(map.merged()),
        };
        let node = Node { pos: frame.pos, data };
        let built = Built { node, height: frame.height + 1, weight: frame.weight };
        self.remember(frame.anchor, &built)?;
        self.value(built, frame.pos)
    }

    /// Keeps a value for its aliases; anchor 0 is no anchor.
    fn remember(&mut self, anchor: usize, built: &Built) -> Result<(), Fault> {
        if anchor != 0 {
            self.spend(built)?;
            self.anchors.insert(anchor, built.clone());
        }
        Ok(())
    }

    fn spend(&mut self, built: &Built) -> Result<(), Fault> {
        self.unfolded += built.weight;
        if self.unfolded > MAX_UNFOLDED {
            let message = "the aliases of this file unfold to too much data";
            return Err(Fault::new(built.node.pos, message));
        }
        Ok(())
    }

    fn awaits_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame { content: Content::Map(map), .. })
            if map.key.is_none())
    }

    fn key(&mut self, text: &str, is_merge: bool, pos: Pos) {
        let Some(Frame { content: Content::Map(map), .. }) = self.frames.last_mut() else {
            return;
        };
        let mut at = map.entries.len();
        let earlier = match is_merge {
            true => map.merge_at.replace(pos).map(|earlier| (earlier, at)),
            false => map.seen.insert(text.to_owned(), (pos, at)),
        };
        if let Some((earlier, first)) = earlier {
            // A key without a value loses nothing to a later one.
            if map.entries.get(first).is_some_and(|entry| entry.value.is_null()) {
                at = first;
                map.seen.insert(text.to_owned(), (pos, at));
            } else {
                self.faults.push(given_twice(text, earlier, pos));
            }
        }
        map.key = Some(Key { text: text.to_owned(), pos, is_merge, at });
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, built: Built, at: Pos) -> Result<(), Fault> {
        let Some(frame) = self.frames.last_mut() else {
            // A file may end with `---`; a second document that says something may not be lost.
            if self.root.is_some() && !built.node.is_null() {
                return Err(Fault::new(at, "expected a single document; use several files"));
            }
            self.root.get_or_insert(built.node);
            return Ok(());
        };
        frame.height = frame.height.max(built.height);
        frame.weight += built.weight;
        match &mut frame.content {
            Content::List(items) => items.push(built.node),
            Content::Map(map) => match map.key.take() {
                Some(Key { is_merge: true, pos, .. }) => map.merge(built.node, pos)?,
                Some(Key { text, pos, at, .. }) => {
                    let entry = Entry { key: text, pos, value: built.node };
                    match map.entries.get_mut(at) {
                        Some(empty) => *empty = entry,
                        None => map.entries.push(entry),
                    }
                }
                None => return Err(Fault::new(at, "a key must be a string")),
            },
        }
        Ok(())
    }
}

impl MapFrame {
    fn merge(&mut self, node: Node, pos: Pos) -> Result<(), Fault> {
        let is_map = |node: &Node| matches!(node.data, Data::Map(_));
        match node.data {
            Data::Map(_) => self.merges.push(node),
            Data::List(items) if items.iter().all(is_map) => self.merges.extend(items),
            _ => {
                let message = "map merge requires map or sequence of maps as the value";
                return Err(Fault::new(pos, message));
            }
        }
        Ok(())
    }

    /// The entries with the merged ones after them; a key that is there already wins.
    fn merged(mut self) -> Vec<Entry> {
        for map in self.merges {
            let Data::Map(entries) = map.data else { continue };
            for entry in entries {
                let place = (entry.pos, self.entries.len());
                if self.seen.insert(entry.key.clone(), place).is_none() {
                    self.entries.push(entry);
                }
            }
        }
        self.entries
    }
}

/// A key that is given twice in one map, at both places.
pub(super) fn given_twice(key: &str, earlier: Pos, pos: Pos) -> Fault {
    Fault::new(pos, format!("'{key}' is given twice (first in line {})", earlier.line))
}

/// Nesting beyond the bound.
pub(super) fn too_deep(pos: Pos) -> Fault {
    Fault::new(pos, format!("nested deeper than {MAX_DEPTH} levels"))
}

/// What our scanner says of tabs between a colon and a value.
const TAB: &str = "':' must be followed by a valid YAML whitespace";

/// The tags by which Kong's reader decides what a scalar is. It looks at no other tag.
const EXPLICIT: [&str; 5] = ["bool", "float", "int", "null", "str"];

fn is_explicit(tag: &Tag) -> bool {
    tag.is_yaml_core_schema() && EXPLICIT.contains(&tag.suffix.as_str())
}

/// The value of a scalar with an explicit tag, such as `!!str 80`. The error does not quote it.
fn tagged(text: &str, tag: &Tag) -> Result<Value, String> {
    let kind = tag.suffix.as_str();
    if kind == "str" {
        return Ok(Value::String(text.to_owned()));
    }
    let value = scalar::resolve(text).map_err(|e| e.to_string())?;
    let fits = match kind {
        "int" => value.is_i64() || value.is_u64(),
        "float" => value.is_number(),
        "bool" => value.is_boolean(),
        _ => value.is_null(),
    };
    if fits { Ok(value) } else { Err(format!("invalid 'tag:yaml.org,2002:{kind}' value")) }
}

#[cfg(test)]
mod tests;
