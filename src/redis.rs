//! Redis servers: what several gateways have in common, such as counters.
//!
//! A worker has one connection to a server, which all plugin instances with the same settings
//! share and many requests use at once. It is opened when somebody asks, and again after it broke.
//! Names go through the gateway's own DNS, certificates through its own trust.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use crate::dns::Names;
use crate::shared::Shared;

mod server;

pub use redis::{Cmd as Command, Pipeline as Commands, Value as Answer, cmd, pipe};
pub use server::{Record, Server, Short};

/// Why Redis gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection, or it broke.
    #[error("failed to connect to Redis: {0}")]
    Unreachable(String),
    /// The server did not want the user or the database.
    #[error("failed to auth Redis: {0}")]
    Unknown(String),
    /// Nothing came back in time, or not what was expected.
    #[error("Redis: {0}")]
    Refused(String),
}

/// A worker's way to one Redis server.
pub struct Redis {
    server: Server,
    shared: Arc<Shared>,
    names: Names,
    /// Whoever finds no connection opens one, and the others wait for it.
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Tells a connection from the one before.
    generation: Cell<u64>,
}

thread_local! {
    /// The servers that plugins of this worker use.
    static KNOWN: RefCell<HashMap<Server, Weak<Redis>>> = RefCell::default();
}

impl Redis {
    /// The way to a server. Who asks for the same server in the same worker gets the same way.
    pub fn of(shared: &Arc<Shared>, server: Server) -> Rc<Self> {
        KNOWN.with_borrow_mut(|known| {
            if let Some(way) = known.get(&server).and_then(Weak::upgrade) {
                return way;
            }
            known.retain(|_, way| way.strong_count() > 0);
            let way = Rc::new(Self {
                server: server.clone(),
                shared: shared.clone(),
                names: Names::new(shared.dns.clone()),
                connection: Mutex::default(),
                generation: Cell::default(),
            });
            known.insert(server, Rc::downgrade(&way));
            way
        })
    }

    /// Where it leads, for log lines: `host:port`.
    pub fn place(&self) -> String {
        self.server.place()
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// See [`Failure`]. An error that the server gives counts as one.
    pub async fn ask(&self, command: &Cmd) -> Result<Value, Failure> {
        let answer =
            self.asked(async |connection| connection.req_packed_command(command).await).await?;
        answer.extract_error().map_err(|error| told(&error))
    }

    /// Asks several things in one go. Each may have an error of its own among the answers.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn ask_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let count = commands.cmd_iter().count();
        self.asked(async |connection| connection.req_packed_commands(commands, 0, count).await)
            .await
    }

    /// Asks a second time when the connection turns out to be gone: one that was idle may have been
    /// closed by the server or by a firewall, which says nothing about the server.
    async fn asked<T>(
        &self,
        ask: impl AsyncFn(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, Failure> {
        let mut is_first = true;
        loop {
            let (mut connection, generation) = self.connected().await?;
            let error = match ask(&mut connection).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if error.is_io_error() || error.is_unrecoverable_error() {
                self.forget(generation).await;
            }
            let is_gone = error.is_connection_dropped() && !error.is_timeout();
            if !std::mem::take(&mut is_first) || !is_gone {
                return Err(told(&error));
            }
        }
    }

    async fn forget(&self, generation: u64) {
        let mut kept = self.connection.lock().await;
        if self.generation.get() == generation {
            *kept = None;
        }
    }

    async fn connected(&self) -> Result<(MultiplexedConnection, u64), Failure> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok((connection.clone(), self.generation.get()));
        }
        let opening = tokio::time::timeout(self.server.connect_timeout, self.open());
        let opened = opening.await.map_err(|_| Failure::Unreachable("timeout".to_owned()))??;
        *kept = Some(opened.clone());
        self.generation.set(self.generation.get() + 1);
        Ok((opened, self.generation.get()))
    }

    async fn open(&self) -> Result<MultiplexedConnection, Failure> {
        let mut places = self.server.places();
        let mut last = Failure::Unreachable("no host".to_owned());
        while let Some((host, port)) = places.pop() {
            let opened = match &self.server.sentinel {
                Some(master) => self.open_behind(&host, port, master).await,
                None => self.handshake(&host, port, &self.server.login()).await,
            };
            match opened {
                Ok(connection) => return Ok(connection),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    /// Asks a sentinel where the server is, and opens a connection there.
    async fn open_behind(
        &self,
        host: &str,
        port: u16,
        sentinel: &server::Sentinel,
    ) -> Result<MultiplexedConnection, Failure> {
        let mut asked = self.handshake(host, port, &sentinel.login()).await?;
        let answer = asked.req_packed_command(&sentinel.question()).await;
        let answer = answer.map_err(|error| told(&error))?;
        let (host, port) = sentinel.place(answer).ok_or_else(|| {
            Failure::Unreachable(format!("no {} known to the sentinel", sentinel.role()))
        })?;
        self.handshake(&host, port, &self.server.login()).await
    }

    async fn handshake(
        &self,
        host: &str,
        port: u16,
        login: &RedisConnectionInfo,
    ) -> Result<MultiplexedConnection, Failure> {
        let unreachable = |error: &dyn std::fmt::Display| Failure::Unreachable(error.to_string());
        let address = self.names.address(host, port).await.map_err(|e| unreachable(&e))?;
        let stream = TcpStream::connect(address).await;
        let stream = stream.map_err(|error| Failure::Unreachable(words(&error)))?;
        let _ = stream.set_nodelay(true);
        let Some(verify) = self.server.tls else { return self.start(stream, login).await };
        let name = self.server.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| unreachable(&error))?;
        let connector = TlsConnector::from(self.shared.tls.config(verify));
        let stream = connector.connect(name, stream).await.map_err(|e| unreachable(&e))?;
        self.start(stream, login).await
    }

    async fn start<S>(
        &self,
        stream: S,
        login: &RedisConnectionInfo,
    ) -> Result<MultiplexedConnection, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let config =
            AsyncConnectionConfig::new().set_response_timeout(Some(self.server.read_timeout));
        let started = MultiplexedConnection::new_with_config(login, stream, config).await;
        let (connection, driver) = started.map_err(|error| match error.is_io_error() {
            true => told(&error),
            false => Failure::Unknown(error.to_string()),
        })?;
        // It ends with the last handle of the connection.
        drop(tokio::task::spawn_local(driver));
        Ok(connection)
    }
}

fn told(error: &RedisError) -> Failure {
    match error.is_io_error() && !error.is_timeout() {
        true => Failure::Unreachable(error.to_string()),
        false if error.is_timeout() => Failure::Refused("timeout".to_owned()),
        false => Failure::Refused(error.to_string()),
    }
}

/// nginx' words, which operators know from Kong's log.
fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::TimedOut => "timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// A whole number in an answer.
pub fn number(answer: &Value) -> Option<i64> {
    match answer {
        Value::Int(number) => Some(*number),
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::SimpleString(text) => text.parse().ok(),
        _ => None,
    }
}

/// Milliseconds of a configuration.
fn millis(ms: Option<u64>, default: u64) -> Duration {
    Duration::from_millis(ms.unwrap_or(default))
}

#[cfg(test)]
mod tests;
