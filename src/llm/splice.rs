//! Changing top-level members of a JSON object without touching the rest of its bytes.
//!
//! A gateway that decodes and encodes a chat changes number spellings, key order and unknown
//! members (Kong turns 12345678901234567890 into 9.2e18). Here the members are byte ranges, and
//! an edit replaces ranges: what is not edited arrives upstream as the client wrote it.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::llm::json::{self, Fault, Scanner};

/// A JSON object and where its top-level members are.
#[derive(Clone)]
pub struct Object<B> {
    bytes: B,
    /// Just after the opening brace.
    inside: u32,
    members: SmallVec<[Member; 16]>,
}

/// Offsets of one `"key": value`.
#[derive(Clone, Copy)]
struct Member {
    key: u32,
    key_end: u32,
    value: u32,
    end: u32,
    escaped: bool,
}

/// The name of a member that is edited, with its JSON spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    name: Box<str>,
    quoted: Box<[u8]>,
}

impl Key {
    /// Any name; it is escaped once, here.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), quoted: quote(name).into() }
    }

    /// The name without quotes.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One change: a member gets this value (JSON text), or goes.
#[derive(Clone, Copy)]
pub struct Edit<'a> {
    key: &'a Key,
    value: Option<&'a [u8]>,
}

impl<'a> Edit<'a> {
    /// The member has this value afterwards, and there is one copy of it.
    pub fn set(key: &'a Key, value: &'a [u8]) -> Self {
        Self { key, value: Some(value) }
    }

    /// No copy of the member is left.
    pub fn drop(key: &'a Key) -> Self {
        Self { key, value: None }
    }
}

/// A member of an object is there more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Twice;

impl<B: AsRef<[u8]>> Object<B> {
    /// Reads the whole of `bytes` strictly; errors say why it is not one JSON object.
    pub fn read(bytes: B) -> Result<Self, Fault> {
        let text = bytes.as_ref();
        if u32::try_from(text.len()).is_err() {
            return Err(Fault::TooLong);
        }
        if let Err(error) = std::str::from_utf8(text) {
            return Err(Fault::Malformed(error.valid_up_to()));
        }
        Self::read_text(bytes)
    }

    /// As [`read`](Self::read) for bytes that are text for certain: a part of what was read.
    pub(crate) fn read_text(bytes: B) -> Result<Self, Fault> {
        let text = bytes.as_ref();
        let mut scanner = Scanner::new(text);
        scanner.blank();
        if scanner.peek() != Some(b'{') {
            scanner.value(0)?;
            scanner.end()?;
            return Err(Fault::NotAnObject);
        }
        scanner.step();
        let inside = scanner.at() as u32;
        let members = members(&mut scanner)?;
        scanner.end()?;
        Ok(Self { bytes, inside, members })
    }

    /// The bytes as they were read.
    pub fn bytes(&self) -> &B {
        &self.bytes
    }

    /// The value of a member that is there once at most.
    ///
    /// # Errors
    /// It is there twice: who reads the object next might take the other one.
    pub fn only(&self, key: &str) -> Result<Option<&[u8]>, Twice> {
        let copies = self.members().filter(|(known, _)| known == key).count();
        if copies > 1 { Err(Twice) } else { Ok(self.get(key)) }
    }

    /// The JSON text of a member. Of several copies the last counts, as in Kong.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let member = self.members.iter().rev().find(|member| self.is_named(member, key))?;
        Some(&self.bytes.as_ref()[member.value as usize..member.end as usize])
    }

    /// Names and JSON texts of all members, in order; of several copies all.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'_, str>, &[u8])> {
        let bytes = self.bytes.as_ref();
        self.members.iter().filter_map(|member| {
            let name = json::text(&bytes[member.key as usize..member.key_end as usize])?;
            Some((name, &bytes[member.value as usize..member.end as usize]))
        })
    }

    /// The same with the names as bytes, which costs less. Names that are no text are left out.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Cow<'_, [u8]>, &[u8])> {
        let bytes = self.bytes.as_ref();
        self.members.iter().filter_map(|member| {
            let name = &bytes[member.key as usize..member.key_end as usize];
            let name = match member.escaped {
                false => Cow::Borrowed(&name[1..name.len() - 1]),
                true => Cow::Owned(json::text(name)?.into_owned().into_bytes()),
            };
            Some((name, &bytes[member.value as usize..member.end as usize]))
        })
    }

    /// The object after `edits`; of several edits of one member the first counts.
    ///
    /// A member that is there keeps its place; one that is new goes to the end.
    pub fn splice(&self, edits: &[Edit<'_>]) -> Vec<u8> {
        let bytes = self.bytes.as_ref();
        let room = |edit: &Edit<'_>| edit.key.quoted.len() + edit.value.map_or(0, <[u8]>::len) + 2;
        let capacity = bytes.len() + edits.iter().map(room).sum::<usize>();
        let mut copy = Copy { bytes, done: 0, out: Vec::with_capacity(capacity) };
        let mut placed: SmallVec<[bool; 16]> = smallvec::smallvec![false; edits.len()];
        let mut kept_end = None;
        for (index, member) in self.members.iter().enumerate() {
            let Some(at) = edits.iter().position(|edit| self.is_named(member, &edit.key.name))
            else {
                kept_end = Some(member.end);
                continue;
            };
            if let Some(value) = edits[at].value.filter(|_| !placed[at]) {
                placed[at] = true;
                copy.replace(member.value, member.end, value);
                kept_end = Some(member.end);
                continue;
            }
            // This copy goes and takes one comma along: the one before it, or the one after it
            // when nothing is kept in front.
            match kept_end {
                Some(end) => {
                    copy.replace(end, member.end, b"");
                    kept_end = Some(member.end);
                }
                None => {
                    let next = self.members.get(index + 1).map_or(member.end, |next| next.key);
                    copy.replace(member.key, next, b"");
                }
            }
        }
        let end = self.members.last().map_or(self.inside, |member| member.end);
        copy.replace(end, end, b"");
        append(&mut copy.out, kept_end.is_none(), edits, &placed);
        copy.finish()
    }

    fn is_named(&self, member: &Member, name: &str) -> bool {
        let raw = &self.bytes.as_ref()[member.key as usize..member.key_end as usize];
        if member.escaped {
            return json::text(raw).is_some_and(|key| key == name);
        }
        raw.len() == name.len() + 2 && &raw[1..raw.len() - 1] == name.as_bytes()
    }
}

impl Object<Bytes> {
    /// As [`splice`](Self::splice); an edit that changes nothing does not copy.
    pub fn edited(&self, edits: &[Edit<'_>]) -> Bytes {
        if edits.iter().all(|edit| self.holds(edit)) {
            return self.bytes.clone();
        }
        self.splice(edits).into()
    }

    fn holds(&self, edit: &Edit<'_>) -> bool {
        let mut copies = self.members.iter().filter(|m| self.is_named(m, &edit.key.name));
        match (copies.next(), copies.next()) {
            (None, _) => edit.value.is_none(),
            (Some(one), None) => {
                edit.value == Some(&self.bytes[one.value as usize..one.end as usize])
            }
            (Some(_), Some(_)) => false,
        }
    }
}

/// The bytes of an object on their way to the edited copy.
struct Copy<'a> {
    bytes: &'a [u8],
    done: usize,
    out: Vec<u8>,
}

impl Copy<'_> {
    /// Copies up to `from`, writes `text`, goes on at `to`. Ranges come in order.
    fn replace(&mut self, from: u32, to: u32, text: &[u8]) {
        let from = (from as usize).max(self.done);
        self.out.extend_from_slice(&self.bytes[self.done..from]);
        self.out.extend_from_slice(text);
        self.done = (to as usize).max(from);
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(&self.bytes[self.done..]);
        self.out
    }
}

/// Reads members up to and with the closing brace.
fn members(scanner: &mut Scanner<'_>) -> Result<SmallVec<[Member; 16]>, Fault> {
    let mut members = SmallVec::new();
    scanner.blank();
    if scanner.peek() == Some(b'}') {
        scanner.step();
        return Ok(members);
    }
    loop {
        scanner.blank();
        let key = scanner.at() as u32;
        let escaped = scanner.string()?;
        let key_end = scanner.at() as u32;
        scanner.blank();
        scanner.expect(b':')?;
        scanner.blank();
        let value = scanner.at() as u32;
        scanner.value(1)?;
        let end = scanner.at() as u32;
        members.push(Member { key, key_end, value, end, escaped });
        scanner.blank();
        if scanner.peek() == Some(b'}') {
            scanner.step();
            return Ok(members);
        }
        scanner.expect(b',')?;
    }
}

/// Writes the members that were not there.
fn append(out: &mut Vec<u8>, mut first: bool, edits: &[Edit<'_>], placed: &[bool]) {
    for (index, edit) in edits.iter().enumerate() {
        let again = edits[..index].iter().any(|earlier| earlier.key.name == edit.key.name);
        let Some(value) = edit.value.filter(|_| !placed[index] && !again) else { continue };
        if !first {
            out.push(b',');
        }
        first = false;
        out.extend_from_slice(&edit.key.quoted);
        out.push(b':');
        out.extend_from_slice(value);
    }
}

/// A JSON string with this text.
pub fn quote(text: &str) -> Vec<u8> {
    serde_json::Value::from(text).to_string().into_bytes()
}

#[cfg(test)]
mod tests;
