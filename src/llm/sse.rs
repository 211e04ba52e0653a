//! Server-sent events: where they begin and end in a stream of bytes.
//!
//! The gateway passes events byte for byte, comments and `event:` lines included, and only looks
//! at them; one that is not for the client is left out ([`Fate`]). A read from the network is no
//! event: it may hold many, or cut one anywhere, even between CR and LF. What is forwarded always
//! ends at the end of an event, so a stream that breaks never leaves half a JSON object with the
//! client. Grammar: the HTML standard, "Parsing an event stream".

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr2, memmem};
use smallvec::SmallVec;

use crate::llm::splice::Object;
use crate::llm::{Wire, json};

/// The longest event that is held while it is incomplete, in bytes.
pub const EVENT_SIZE_MAX: usize = 1024 * 1024;

/// The event that ends a stream which the upstream did not finish; no `[DONE]` follows it.
pub const BROKEN: &[u8] =
    b"data: {\"error\":{\"message\":\"the upstream ended the stream before it \
was complete\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_stream_broken\"}}\n\n";

/// The same in Anthropic's grammar.
const BROKEN_MESSAGE: &[u8] = b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\
\"api_error\",\"message\":\"the upstream ended the stream before it was complete\"}}\n\n";

impl Wire {
    /// The event that ends a stream which the upstream did not finish.
    pub fn broken(self) -> &'static [u8] {
        match self {
            Self::Openai => BROKEN,
            Self::Messages => BROKEN_MESSAGE,
        }
    }
}

const BOM: &[u8] = b"\xef\xbb\xbf";

/// An upstream event is longer than [`EVENT_SIZE_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is larger than {EVENT_SIZE_MAX} bytes")]
pub struct TooLong {
    /// What was taken in and has not been sent on: the events of this read, and what there is of
    /// the long one.
    pub left: Bytes,
}

/// One event as it was received, with its blank line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    raw: &'a [u8],
}

impl<'a> Event<'a> {
    /// The bytes of the event.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// What the `data` lines say; joined by LF when there are several, `None` when there is none.
    pub fn data(&self) -> Option<Cow<'a, [u8]>> {
        let mut lines = lines(self.raw).filter_map(|line| field(line, b"data"));
        let first = lines.next()?;
        let mut joined = Cow::Borrowed(first);
        for line in lines {
            let joined = joined.to_mut();
            joined.push(b'\n');
            joined.extend_from_slice(line);
        }
        Some(joined)
    }

    /// The event with other data, JSON on one line; its other lines stay as they are.
    pub fn with_data(&self, data: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(self.raw.len() + data.len());
        let mut is_told = false;
        for (line, end) in pieces(self.raw) {
            if field(line, b"data").is_none() {
                out.extend_from_slice(line);
            } else if std::mem::replace(&mut is_told, true) {
                continue; // one line says it all
            } else {
                out.extend_from_slice(b"data: ");
                // White space between members, which would end the line.
                let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
                out.extend(data.iter().map(|byte| if is_end(byte) { b' ' } else { *byte }));
            }
            out.extend_from_slice(end);
        }
        out.into()
    }

    /// Whether this is the last event of a stream: `[DONE]`, or `message_stop`. Anthropic's streams
    /// end with `error`, too.
    pub fn is_last(&self, wire: Wire) -> bool {
        match wire {
            Wire::Openai => self.is_done(),
            Wire::Messages => self.ends_message(),
        }
    }

    fn ends_message(&self) -> bool {
        // Most events are neither, and are not read for it.
        let names: [&[u8]; 2] = [b"message_stop", b"error"];
        let is_likely = names.iter().any(|name| memmem::find(self.raw, name).is_some());
        let is_end = |data: Cow<'_, [u8]>| {
            let data = Object::read(&*data).ok()?;
            let kind = json::text(data.get("type")?)?;
            Some(matches!(&*kind, "message_stop" | "error"))
        };
        is_likely && self.data().and_then(is_end) == Some(true)
    }

    /// Whether this is OpenAI's last event.
    pub fn is_done(&self) -> bool {
        let likely = self.raw.len() < 64 || self.raw.trim_ascii_end().ends_with(b"[DONE]");
        likely && self.data().is_some_and(|data| data.trim_ascii() == b"[DONE]")
    }
}

/// What becomes of an event that was looked at. Who only looks says nothing: it passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It passes as it came.
    Pass,
    /// The client does not get it.
    Hide,
    /// The client gets these bytes in its place.
    Replace(Bytes),
}

impl From<()> for Fate {
    fn from((): ()) -> Self {
        Self::Pass
    }
}

/// How the bytes from the upstream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The response is complete as HTTP sees it.
    Complete,
    /// The connection failed, or the read timed out.
    Broken,
}

/// What the stream was, once it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ended with its last event.
    Done,
    /// It ended between two events without `[DONE]`: passed as it is, as in Kong. A message that
    /// has no end is broken.
    NotDone,
    /// It broke; the client is told with [`Wire::broken`].
    Broken,
}

/// Cuts the bytes of one upstream response into events.
#[derive(Default)]
pub struct Framer {
    /// Whose grammar it has.
    wire: Wire,
    /// The beginning of an event whose end is not here yet.
    held: BytesMut,
    /// The current line has bytes.
    in_line: bool,
    /// The last byte was a CR; an LF now would belong to it.
    after_cr: bool,
    /// An event has ended, so no byte order mark can come.
    started: bool,
    done: bool,
    /// The client did not get the last event as it came.
    hid_last: bool,
}

/// Bytes to send on, in order; two when the first event began in an earlier read, and more where
/// events are left out.
pub type Forward = SmallVec<[Bytes; 2]>;

impl Framer {
    /// For a stream of a target that speaks this.
    pub fn new(wire: Wire) -> Self {
        Self { wire, ..Self::default() }
    }

    /// Takes one read, shows every event that ends in it, and gives what may go to the client.
    ///
    /// Events that lie within the read are not copied.
    pub fn push<F: Into<Fate>>(
        &mut self,
        read: Bytes,
        mut seen: impl FnMut(Event<'_>) -> F,
    ) -> Result<Forward, TooLong> {
        let mut forward = Forward::new();
        let mut from = 0;
        // Where the bytes begin that pass as they came.
        let mut start = 0;
        if self.after_cr && self.held.is_empty() && read.first() == Some(&b'\n') {
            // The second half of the CRLF that ended the last event.
            self.after_cr = false;
            from = 1;
            start = usize::from(self.hid_last);
        }
        while let Some(end) = self.boundary(&read, from) {
            if self.held.len() + (end - from) > EVENT_SIZE_MAX {
                return Err(self.too_long(&forward, &read[start..]));
            }
            if self.held.is_empty() {
                let fate = self.show(&read[from..end], &mut seen);
                if fate != Fate::Pass {
                    forward.extend((start < from).then(|| read.slice(start..from)));
                    start = end;
                }
                self.hid_last = fate != Fate::Pass;
                if let Fate::Replace(other) = fate {
                    forward.push(other);
                }
            } else {
                let mut whole = std::mem::take(&mut self.held);
                whole.extend_from_slice(&read[..end]);
                let fate = self.show(&whole, &mut seen);
                self.hid_last = fate != Fate::Pass;
                match fate {
                    Fate::Pass => forward.push(whole.freeze()),
                    Fate::Replace(other) => forward.push(other),
                    Fate::Hide => {}
                }
                start = end;
            }
            from = end;
        }
        if self.held.len() + (read.len() - from) > EVENT_SIZE_MAX {
            return Err(self.too_long(&forward, &read[start..]));
        }
        self.held.extend_from_slice(&read[from..]);
        if start < from {
            forward.push(read.slice(start..from));
        }
        Ok(forward)
    }

    /// Takes the end of the stream; gives what the client still needs, and how it went.
    ///
    /// A `[DONE]` without its blank line counts and gets one. Any other event that is cut off is
    /// dropped, because half of it is of no use.
    pub fn finish<F: Into<Fate>>(
        mut self,
        ended: Ended,
        mut seen: impl FnMut(Event<'_>) -> F,
    ) -> (Bytes, Outcome) {
        let mut last = std::mem::take(&mut self.held);
        let cut = lines(&last).any(|line| !line.is_empty() && line[0] != b':');
        if !self.done && cut && (Event { raw: &last }).is_last(self.wire) {
            // After a lone CR an LF would only complete the CRLF.
            let rest: &[u8] = if last.ends_with(b"\n") { b"\n" } else { b"\n\n" };
            last.extend_from_slice(rest);
            let _ = seen(Event { raw: &last }); // the end is everybody's
            return (last.freeze(), Outcome::Done);
        }
        match (self.done, ended) {
            (true, _) => (Bytes::new(), Outcome::Done),
            (false, Ended::Complete) if !cut && self.wire == Wire::Openai => {
                (Bytes::new(), Outcome::NotDone)
            }
            (false, _) => (Bytes::from_static(self.wire.broken()), Outcome::Broken),
        }
    }

    fn show<F: Into<Fate>>(&mut self, raw: &[u8], seen: &mut impl FnMut(Event<'_>) -> F) -> Fate {
        let raw = if self.started { raw } else { raw.strip_prefix(BOM).unwrap_or(raw) };
        self.started = true;
        let event = Event { raw };
        self.done |= event.is_last(self.wire);
        seen(event).into()
    }

    fn too_long(&mut self, forward: &Forward, rest: &[u8]) -> TooLong {
        let mut left = BytesMut::new();
        forward.iter().for_each(|part| left.extend_from_slice(part));
        left.extend_from_slice(&std::mem::take(&mut self.held));
        left.extend_from_slice(rest);
        TooLong { left: left.freeze() }
    }

    /// Where the event that is open ends in `bytes`: just after its blank line.
    fn boundary(&mut self, bytes: &[u8], mut at: usize) -> Option<usize> {
        if let Some(first) = bytes.get(at).filter(|_| self.after_cr) {
            at += usize::from(*first == b'\n');
            self.after_cr = false;
        }
        loop {
            let Some(stop) = memchr2(b'\n', b'\r', &bytes[at..]) else {
                self.in_line |= at < bytes.len();
                return None;
            };
            let blank = !self.in_line && stop == 0;
            self.in_line = false;
            let cr = bytes[at + stop] == b'\r';
            at += stop + 1;
            if cr && bytes.get(at) == Some(&b'\n') {
                at += 1;
            } else if cr && at == bytes.len() {
                self.after_cr = true;
            }
            if blank {
                return Some(at);
            }
        }
    }
}

/// The lines of `bytes` without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    pieces(bytes).map(|(line, _)| line)
}

/// The lines of `bytes` and their ends: LF, CR or CRLF.
fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let stop = memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len());
        let (line, rest) = bytes.split_at(stop);
        let end = if rest.starts_with(b"\r\n") { 2 } else { rest.len().min(1) };
        let (end, rest) = rest.split_at(end);
        bytes = rest;
        Some((line, end))
    })
}

/// The value of a line of this field, without the one optional blank.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let colon = memchr(b':', line).unwrap_or(line.len());
    let (key, value) = line.split_at(colon);
    let value = value.strip_prefix(b":").unwrap_or(value);
    (key == name).then(|| value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests;
