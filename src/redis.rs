//! Redis servers: what several gateways have in common, such as counters.
//!
//! A worker has one connection to a server, which all plugin instances with the same settings
//! share and many requests use at once. It is opened when somebody asks, and again after it broke.
//! Names go through the gateway's own DNS, certificates through its own trust.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::azure::{Token, TokenHandle};
use crate::dns::Names;
use crate::settings::Env;
use crate::shared::Shared;
use line::Line;
use server::Place;

mod cluster;
mod line;
mod server;

/// How long a connection waits for a token of an identity.
const TOKEN_WAIT: Duration = Duration::from_secs(5);

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

/// A worker's way to one Redis server, or to the nodes of a cluster.
pub struct Redis {
    server: Server,
    shared: Arc<Shared>,
    names: Names,
    /// To the server, or to any node that the configuration names.
    line: Line,
    cluster: Option<cluster::Map>,
    /// Whose token is the password.
    identity: RefCell<Option<TokenHandle>>,
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
                line: Line::default(),
                cluster: server.is_cluster().then(cluster::Map::default),
                identity: RefCell::default(),
            });
            known.insert(server, Rc::downgrade(&way));
            way
        })
    }

    /// Where it leads, for log lines: `host:port`.
    pub fn place(&self) -> String {
        self.server.place()
    }

    /// The same, signed in to as an identity where the server wants the token of one. `place` is
    /// the server's path in the configuration.
    ///
    /// # Errors
    /// Part of the identity is missing.
    pub fn signed_in(
        shared: &Arc<Shared>,
        env: &Env,
        server: Server,
        place: &str,
    ) -> Result<Rc<Self>, Vec<String>> {
        let record = format!("{place}.cloud_authentication");
        let identity = server.identity(env).map_err(|incomplete| {
            vec![format!("{record}: {}", incomplete.told(&|field| format!("{record}.{field}")))]
        })?;
        let way = Self::of(shared, server);
        way.identity.replace(identity.map(|identity| shared.tokens.handle(identity)));
        Ok(way)
    }

    /// Whether keys that are asked for together must have a part in braces in common.
    pub fn is_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// See [`Failure`]. An error that the server gives counts as one.
    pub async fn ask(&self, command: &Cmd) -> Result<Value, Failure> {
        if let Some(cluster) = &self.cluster {
            let mut one = redis::pipe();
            one.add_command(command.clone());
            let answer = cluster.ask_all(self, &one).await?.pop().unwrap_or(Value::Nil);
            return answer.extract_error().map_err(|error| told(&error));
        }
        let ask = async |connection: &mut MultiplexedConnection| {
            connection.req_packed_command(command).await
        };
        let answer = self.line.asked(self, ask).await?;
        answer.extract_error().map_err(|error| told(&error))
    }

    /// Asks several things in one go, or one for each node that has some of their keys. Each may
    /// have an error of its own among the answers.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn ask_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        if let Some(cluster) = &self.cluster {
            return cluster.ask_all(self, commands).await;
        }
        let count = commands.cmd_iter().count();
        let ask = async |connection: &mut MultiplexedConnection| {
            connection.req_packed_commands(commands, 0, count).await
        };
        self.line.asked(self, ask).await
    }

    /// The token that is the password now, where one is.
    async fn token(&self) -> Result<Option<Arc<Token>>, Failure> {
        let Some(identity) = self.identity.borrow().clone() else { return Ok(None) };
        if let Some(token) = identity.current() {
            return Ok(Some(token));
        }
        let deadline = tokio::time::Instant::now() + TOKEN_WAIT;
        let token = identity.wait(deadline).await;
        token.map(Some).map_err(|failure| Failure::Unknown(failure.to_string()))
    }

    /// Signs in once more: Azure's servers hang up when the token ends that they know.
    async fn sign_in(
        &self,
        connection: &mut MultiplexedConnection,
        token: Option<&Token>,
    ) -> Result<(), Failure> {
        let login = self.server.login(token);
        let (Some(user), Some(password)) = (login.username(), login.password()) else {
            return Ok(());
        };
        let auth = redis::cmd("AUTH").arg(user).arg(password).take();
        let answer = connection.req_packed_command(&auth).await;
        let answer = answer.and_then(Value::extract_error);
        answer.map(drop).map_err(|error| told(&error))
    }

    async fn open(
        &self,
        place: Option<&Place>,
        token: Option<&Token>,
    ) -> Result<MultiplexedConnection, Failure> {
        let login = self.server.login(token);
        if let Some((host, port)) = place {
            return self.handshake(host, *port, &login).await;
        }
        let mut places = self.server.places();
        let mut last = Failure::Unreachable("no host".to_owned());
        while let Some((host, port)) = places.pop() {
            let opened = match &self.server.sentinel {
                Some(master) => self.open_behind(&host, port, master, &login).await,
                None => self.handshake(&host, port, &login).await,
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
        login: &RedisConnectionInfo,
    ) -> Result<MultiplexedConnection, Failure> {
        let mut asked = self.handshake(host, port, &sentinel.login()).await?;
        let answer = asked.req_packed_command(&sentinel.question()).await;
        let answer = answer.map_err(|error| told(&error))?;
        let (host, port) = sentinel.place(answer).ok_or_else(|| {
            Failure::Unreachable(format!("no {} known to the sentinel", sentinel.role()))
        })?;
        self.handshake(&host, port, login).await
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
