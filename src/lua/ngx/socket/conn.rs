//! A socket of Lua code: its connection, what it has read ahead, and who uses it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pool::Seat;
use super::stream::Stream;
use crate::lua::owner::{Closes, Owner};

/// What OpenResty waits where Lua code does not say how long (`lua_socket_*_timeout`).
pub(super) const WAIT: Duration = Duration::from_secs(60);
/// How much is read at a time.
const PIECE: usize = 16 << 10;

/// Why an operation failed.
#[derive(Debug)]
pub(super) enum Failure {
    Timeout,
    Closed,
    /// The answer is longer than anything that is kept in memory here.
    TooLarge,
    Told(String),
    Io(io::Error),
}

impl Failure {
    /// OpenResty's word for it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Timeout => "timeout".to_owned(),
            Self::Closed => "closed".to_owned(),
            Self::TooLarge => "buffer too small".to_owned(),
            Self::Told(text) => text.clone(),
            Self::Io(error) => system_words(error),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The system's words in lower case, as LuaSocket has them.
fn system_words(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    if error.kind() == ErrorKind::TimedOut { "timeout".into() } else { words.to_lowercase() }
}

/// How long a socket waits.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) connect: Duration,
    pub(super) send: Duration,
    pub(super) read: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: WAIT, send: WAIT, read: WAIT }
    }
}

/// An open connection.
pub(super) struct Conn {
    pub(super) stream: Stream,
    /// Read, and not taken yet.
    pub(super) buffer: BytesMut,
    /// The peer sends no more.
    pub(super) is_eof: bool,
    /// Nothing more is to be read; Lua has been told.
    pub(super) is_read_over: bool,
    is_write_over: bool,
    /// How often it was taken from its pool.
    pub(super) reused: u64,
    /// The pool that it goes to.
    pub(super) pool: Rc<str>,
    /// Its place in that pool, if it counts there.
    pub(super) seat: Option<Seat>,
}

impl Conn {
    pub(super) fn new(stream: Stream, pool: Rc<str>, seat: Option<Seat>) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            is_eof: false,
            is_read_over: false,
            is_write_over: false,
            reused: 0,
            pool,
            seat,
        }
    }

    /// Reads some more; 0 at the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [0; PIECE];
        let mut read = ReadBuf::new(&mut piece);
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => {
                self.buffer.extend_from_slice(read.filled());
                self.is_eof = read.filled().is_empty();
                Poll::Ready(Ok(read.filled().len()))
            }
            // TLS that ends without a farewell: nginx takes it for the end, too.
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                self.is_eof = true;
                Poll::Ready(Ok(0))
            }
            Poll::Ready(Err(error)) => {
                self.is_eof = true;
                Poll::Ready(Err(error))
            }
        }
    }

    /// Whether it is open and silent, so that it can serve somebody else.
    ///
    /// # Errors
    /// What `setkeepalive` says of it.
    pub(super) fn is_idle(&mut self) -> Result<(), &'static str> {
        if self.is_read_over || self.is_eof || self.is_write_over {
            return Err("closed");
        }
        if !self.buffer.is_empty() {
            return Err("unread data in buffer");
        }
        match self.poll_fill(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(0) | Err(_)) => Err("closed"),
            Poll::Ready(Ok(_)) => Err("connection in dubious state"),
        }
    }
}

/// What a Lua object of `ngx.socket.tcp` stands for.
#[derive(Default)]
pub(super) struct Socket {
    pub(super) conn: RefCell<Option<Conn>>,
    pub(super) limits: Cell<Limits>,
    /// What is shown to a peer that asks for a certificate (`setclientcert`).
    pub(super) shown: RefCell<Option<Arc<CertifiedKey>>>,
    /// The address that connections come from; `None` leaves it to the system.
    pub(super) local: Cell<Option<IpAddr>>,
    pub(super) is_connecting: Cell<bool>,
    pub(super) is_reading: Cell<bool>,
    pub(super) is_writing: Cell<bool>,
    owner: RefCell<Weak<Owner>>,
}

/// Busy while it lives.
pub(super) struct Busy<'a>(&'a Cell<bool>);

impl<'a> Busy<'a> {
    pub(super) fn new(flag: &'a Cell<bool>) -> Self {
        flag.set(true);
        Self(flag)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Socket {
    /// Whether there is a connection, be it half closed.
    pub(super) fn is_open(&self) -> bool {
        self.conn.borrow().is_some()
    }

    /// Whether somebody else's turn it is to use this socket.
    pub(super) fn is_anothers(&self, owner: &Rc<Owner>) -> bool {
        self.is_open() && !std::ptr::eq(self.owner.borrow().as_ptr(), Rc::as_ptr(owner))
    }

    /// What keeps it from anything but reading and writing at the same time.
    pub(super) fn busy_with(&self) -> Option<&'static str> {
        match () {
            () if self.is_connecting.get() => Some("socket busy connecting"),
            () if self.is_reading.get() => Some("socket busy reading"),
            () if self.is_writing.get() => Some("socket busy writing"),
            () => None,
        }
    }

    /// Takes a connection for an owner.
    pub(super) fn open(self: &Rc<Self>, conn: Conn, owner: &Rc<Owner>) {
        *self.conn.borrow_mut() = Some(conn);
        *self.owner.borrow_mut() = Rc::downgrade(owner);
        owner.add(self);
    }

    /// Gives the connection up.
    pub(super) fn take(&self) -> Option<Conn> {
        let conn = self.conn.borrow_mut().take();
        if let Some(owner) = self.owner.take().upgrade() {
            owner.remove(std::ptr::from_ref(self));
        }
        conn
    }

    /// Waits for more to read. What is read ahead stays for the next reader.
    pub(super) async fn fill(&self) -> Result<(), Failure> {
        let more = poll_fn(|cx| match self.conn.borrow_mut().as_mut() {
            Some(conn) if !conn.is_eof => conn.poll_fill(cx).map_err(Failure::Io),
            _ => Poll::Ready(Ok(0)),
        });
        match tokio::time::timeout(self.limits.get().read, more).await {
            Err(_) => Err(Failure::Timeout),
            Ok(Ok(0)) => Err(Failure::Closed),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error),
        }
    }

    /// Sends everything. After a failure nothing more can be sent.
    pub(super) async fn send(&self, bytes: &[u8]) -> Result<(), Failure> {
        let _busy = Busy::new(&self.is_writing);
        let sent = self.send_all(bytes).await;
        if let (Err(_), Some(conn)) = (&sent, self.conn.borrow_mut().as_mut()) {
            conn.is_write_over = true;
        }
        sent
    }

    async fn send_all(&self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let write = self.writing(|stream, cx| stream.poll_write(cx, bytes));
            let count = write.await?;
            bytes = bytes.get(count..).filter(|_| count > 0).ok_or(Failure::Closed)?;
        }
        self.writing(|stream, cx| stream.poll_flush(cx)).await
    }

    async fn writing<T>(
        &self,
        mut write: impl FnMut(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Result<T, Failure> {
        let step = poll_fn(|cx| match self.conn.borrow_mut().as_mut() {
            Some(conn) if !conn.is_write_over => {
                write(Pin::new(&mut conn.stream), cx).map_err(Failure::Io)
            }
            _ => Poll::Ready(Err(Failure::Closed)),
        });
        let step = tokio::time::timeout(self.limits.get().send, step).await;
        step.unwrap_or(Err(Failure::Timeout))
    }

    /// Whether something can be sent.
    pub(super) fn can_send(&self) -> bool {
        self.conn.borrow().as_ref().is_some_and(|conn| !conn.is_write_over)
    }

    /// Whether something may be read.
    pub(super) fn can_read(&self) -> bool {
        self.conn.borrow().as_ref().is_some_and(|conn| !conn.is_read_over)
    }
}

impl Closes for Socket {
    fn close(&self) {
        drop(self.conn.borrow_mut().take());
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.take().upgrade() {
            owner.remove(std::ptr::from_ref(self));
        }
    }
}
