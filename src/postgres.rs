//! Postgres servers: what gateways keep in a database, such as vectors.
//!
//! A worker has one connection to a server, which all plugin instances with the same settings
//! share and many requests use at once. It is opened when somebody asks, and again after it broke.
//! Names go through the gateway's own DNS, certificates through its own trust. Nothing is prepared
//! under a name, so a pooler of connections may stand in between.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error};

use self::tls::Connector;
use crate::dns::Names;
use crate::line::{Held, Line, Lost};
use crate::shared::Shared;

mod server;
mod tls;

pub use server::{Record, Server};
pub use tokio_postgres::Row;
pub use tokio_postgres::types::{ToSql, Type};

/// Why Postgres gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No connection, or it broke.
    #[error("failed to connect to Postgres: {0}")]
    Unreachable(String),
    /// Nothing came back in time.
    #[error("Postgres: timeout")]
    Late,
    /// The server does not want to.
    #[error("Postgres: {words}")]
    Refused {
        /// What it said.
        words: String,
        /// Its code for that, if it has one.
        code: Option<SqlState>,
    },
}

impl Failure {
    /// Whether a table is not there.
    pub fn is_missing_table(&self) -> bool {
        matches!(self, Self::Refused { code: Some(code), .. } if *code == SqlState::UNDEFINED_TABLE)
    }
}

/// A value for a question, with the type that Postgres is to take it for.
pub type Argument<'a> = (&'a (dyn ToSql + Sync), Type);

/// A worker's way to one database.
pub struct Postgres {
    server: Server,
    tls: Option<Arc<ClientConfig>>,
    names: Names,
    line: Line<Rc<Client>>,
}

thread_local! {
    /// The servers that plugins of this worker use.
    static KNOWN: RefCell<HashMap<Server, Weak<Postgres>>> = RefCell::default();
}

impl Postgres {
    /// The way to a server. Who asks for the same server in the same worker gets the same way.
    ///
    /// # Errors
    /// The client certificate cannot be used.
    pub fn of(shared: &Arc<Shared>, server: Server) -> Result<Rc<Self>, String> {
        KNOWN.with_borrow_mut(|known| {
            if let Some(way) = known.get(&server).and_then(Weak::upgrade) {
                return Ok(way);
            }
            known.retain(|_, way| way.strong_count() > 0);
            let way = Rc::new(Self {
                tls: server.tls.as_ref().map(|tls| tls.config(&shared.tls)).transpose()?,
                server: server.clone(),
                names: Names::new(shared.dns.clone()),
                line: Line::default(),
            });
            known.insert(server, Rc::downgrade(&way));
            Ok(way)
        })
    }

    /// Where it leads, for log lines: `host:port/database`.
    pub fn place(&self) -> String {
        self.server.place()
    }

    /// Asks one thing.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn ask(&self, sql: &str, arguments: &[Argument<'_>]) -> Result<Vec<Row>, Failure> {
        self.asked(async |client| client.query_typed(sql, arguments).await).await
    }

    /// Has several statements done, all or none of them.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn run(&self, statements: &str) -> Result<(), Failure> {
        self.asked(async |client| client.batch_execute(statements).await).await
    }

    async fn asked<T>(&self, ask: impl AsyncFn(&Client) -> Result<T, Error>) -> Result<T, Failure> {
        let ask = async |client: &mut Rc<Client>| {
            let answer = tokio::time::timeout(self.server.timeout, ask(client)).await;
            let Ok(answer) = answer else {
                // What the server still does for this question would hold up the next one.
                return Err(Lost { failure: Failure::Late, is_broken: true, is_gone: false });
            };
            answer.map_err(|error| {
                let is_gone = client.is_closed() || is_end(&error);
                Lost { failure: told(&error), is_broken: is_gone, is_gone }
            })
        };
        self.line.asked(async || self.connected().await, ask).await
    }

    async fn connected(&self) -> Result<Held<Rc<Client>>, Failure> {
        let late = Failure::Unreachable("timeout".to_owned());
        let suits = async |client: &mut Rc<Client>| !client.is_closed();
        let open = async || self.open().await.map(Rc::new);
        self.line.connected(self.server.timeout, late, suits, open).await
    }

    async fn open(&self) -> Result<Client, Failure> {
        let unreachable = |error: &dyn std::fmt::Display| Failure::Unreachable(error.to_string());
        let (host, port) = (&self.server.host, self.server.port);
        let address = self.names.address(host, port).await.map_err(|e| unreachable(&e))?;
        let stream = TcpStream::connect(address).await.map_err(|error| {
            Failure::Unreachable(match error.kind() {
                std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                _ => error.to_string(),
            })
        })?;
        let _ = stream.set_nodelay(true);
        let mut config = Config::new();
        config.user(&self.server.user).dbname(&self.server.database);
        config.application_name("silverback");
        if let Some(password) = &self.server.password {
            config.password(password.expose());
        }
        let Some(tls) = &self.tls else {
            config.ssl_mode(SslMode::Disable);
            return started(config.connect_raw(stream, tokio_postgres::NoTls).await);
        };
        let is_required = self.server.tls.as_ref().is_some_and(|tls| tls.required);
        config.ssl_mode(if is_required { SslMode::Require } else { SslMode::Prefer });
        let name = ServerName::try_from(host.clone()).map_err(|error| unreachable(&error))?;
        started(config.connect_raw(stream, Connector::new(tls.clone(), name)).await)
    }
}

/// Lets a connection work for its client.
fn started<S, T>(
    opened: Result<(Client, tokio_postgres::Connection<S, T>), Error>,
) -> Result<Client, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (client, connection) = opened.map_err(|error| match error.as_db_error() {
        Some(_) => told(&error),
        None => Failure::Unreachable(words(&error)),
    })?;
    // It ends with the client.
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to Postgres ended");
        }
    });
    Ok(client)
}

/// Whether the connection has ended: by itself, or because an operator has said so.
fn is_end(error: &Error) -> bool {
    let ends = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN];
    error.is_closed() || error.code().is_some_and(|code| ends.contains(code))
}

fn told(error: &Error) -> Failure {
    if error.is_closed() {
        return Failure::Unreachable("closed".to_owned());
    }
    Failure::Refused { words: words(error), code: error.code().cloned() }
}

/// An error with its cause, which it does not tell by itself.
fn words(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return error.message().to_owned();
    }
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Milliseconds of a configuration.
fn millis(ms: Option<f64>, default: u64) -> Duration {
    let ms = ms.filter(|ms| ms.is_finite() && *ms > 0.0);
    ms.map_or(Duration::from_millis(default), |ms| Duration::from_secs_f64(ms.min(1e9) / 1000.0))
}
