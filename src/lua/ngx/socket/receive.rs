//! Reading: lines, numbers of bytes, everything, and up to a pattern.

use std::cell::Cell;

use bytes::{Buf as _, BytesMut};
use memchr::memmem::Finder;

use super::conn::{Busy, Conn, Failure, Socket};

/// The most that is read ahead for one call: what comes from outside must have a bound.
const BUFFER_MAX: usize = 64 << 20;

/// What `receive` and `receiveany` are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Line,
    All,
    Exactly(usize),
    /// Whatever is there, up to so many bytes.
    Any(usize),
}

/// What was read, or why not and what was there until then.
pub(super) type Got = Result<Vec<u8>, (Failure, Vec<u8>)>;

impl Socket {
    /// Reads what is wanted.
    pub(super) async fn receive(&self, wanted: Wanted) -> Got {
        let _busy = Busy::new(&self.is_reading);
        let mut seen = 0;
        loop {
            if let Some(got) = self.with(|conn| wanted.take(conn, &mut seen)) {
                return Ok(got);
            }
            match self.more().await {
                Ok(()) => {}
                Err(Failure::Closed) if wanted == Wanted::All => {
                    return Ok(self.with(|conn| Some(rest(conn))).unwrap_or_default());
                }
                Err(failure) => {
                    let partial = self.with(|conn| Some(rest(conn))).unwrap_or_default();
                    self.end_reading(&failure);
                    return Err((failure, wanted.cleaned(partial)));
                }
            }
        }
    }

    fn with<T>(&self, take: impl FnOnce(&mut Conn) -> Option<T>) -> Option<T> {
        self.conn.borrow_mut().as_mut().and_then(take)
    }

    /// Waits for more, as long as there is room.
    async fn more(&self) -> Result<(), Failure> {
        let held = self.conn.borrow().as_ref().map_or(0, |conn| conn.buffer.len());
        if held >= BUFFER_MAX { Err(Failure::TooLarge) } else { self.fill().await }
    }

    /// After anything but a timeout nothing more is to be read.
    fn end_reading(&self, failure: &Failure) {
        if let (false, Some(conn)) =
            (matches!(failure, Failure::Timeout), self.conn.borrow_mut().as_mut())
        {
            conn.is_read_over = true;
        }
    }
}

fn rest(conn: &mut Conn) -> Vec<u8> {
    conn.buffer.split().to_vec()
}

impl Wanted {
    /// Takes it, if it is there. `seen` bytes need not be looked at again.
    fn take(self, conn: &mut Conn, seen: &mut usize) -> Option<Vec<u8>> {
        let buffer = &mut conn.buffer;
        match self {
            Self::All => None,
            Self::Exactly(count) => {
                (buffer.len() >= count).then(|| buffer.split_to(count).to_vec())
            }
            Self::Any(most) => {
                let count = buffer.len().min(most);
                (count > 0).then(|| buffer.split_to(count).to_vec())
            }
            Self::Line => {
                let found = memchr::memchr(b'\n', buffer.get(*seen..)?);
                let Some(found) = found else {
                    *seen = buffer.len();
                    return None;
                };
                let line = buffer.split_to(*seen + found).to_vec();
                buffer.advance(1);
                Some(self.cleaned(line))
            }
        }
    }

    /// A line has no carriage return, wherever it stood (LuaSocket).
    fn cleaned(self, mut bytes: Vec<u8>) -> Vec<u8> {
        if self == Self::Line {
            bytes.retain(|byte| *byte != b'\r');
        }
        bytes
    }
}

/// What `receiveuntil` returns: reads up to a pattern, again and again.
pub(super) struct Until {
    finder: Finder<'static>,
    /// The pattern is part of what is given.
    is_inclusive: bool,
    /// The pattern was met by a reader of pieces, and the end has still to be told.
    is_met: Cell<bool>,
}

impl Until {
    pub(super) fn new(pattern: &[u8], is_inclusive: bool) -> Self {
        let finder = Finder::new(pattern).into_owned();
        Self { finder, is_inclusive, is_met: Cell::new(false) }
    }

    /// What stands in front of the pattern, or a piece of about `size` bytes of it; `None` after
    /// its last piece.
    pub(super) async fn read(
        &self,
        socket: &Socket,
        size: Option<usize>,
    ) -> Result<Option<Vec<u8>>, (Failure, Vec<u8>)> {
        if self.is_met.take() {
            return Ok(None);
        }
        let _busy = Busy::new(&socket.is_reading);
        let mut seen = 0;
        loop {
            if let Some(got) = socket.with(|conn| self.take(&mut conn.buffer, size, &mut seen)) {
                return Ok(Some(got));
            }
            let Err(failure) = socket.more().await else { continue };
            let partial = socket.with(|conn| {
                let doubtful = self.doubtful(&conn.buffer);
                let sure = conn.buffer.len() - doubtful;
                Some(conn.buffer.split_to(sure).to_vec())
            });
            socket.end_reading(&failure);
            return Err((failure, partial.unwrap_or_default()));
        }
    }

    fn take(
        &self,
        buffer: &mut BytesMut,
        size: Option<usize>,
        seen: &mut usize,
    ) -> Option<Vec<u8>> {
        let length = self.finder.needle().len();
        let from = seen.saturating_sub(length - 1);
        let found = self.finder.find(buffer.get(from..)?).map(|at| from + at);
        let before = found.unwrap_or_else(|| buffer.len() - self.doubtful(buffer));
        *seen = buffer.len();
        if let Some(size) = size.filter(|size| *size <= before || found.is_none()) {
            return (before >= size).then(|| buffer.split_to(size).to_vec());
        }
        let found = found?;
        let given = if self.is_inclusive { found + length } else { found };
        let data = buffer.split_to(given).to_vec();
        if !self.is_inclusive {
            buffer.advance(length);
        }
        self.is_met.set(size.is_some());
        Some(data)
    }

    /// How many bytes at the end may be the beginning of the pattern.
    fn doubtful(&self, buffer: &[u8]) -> usize {
        let pattern = self.finder.needle();
        let most = buffer.len().min(pattern.len() - 1);
        (1..=most).rev().find(|count| buffer.ends_with(&pattern[..*count])).unwrap_or_default()
    }
}
