//! A connection to one server: opened when somebody asks, opened anew after it broke, and signed
//! in again when its token has been renewed.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

use super::server::Place;
use super::{Failure, Redis, told};
use crate::azure::Token;

/// A place, or any of those that the configuration names.
#[derive(Default)]
pub(super) struct Line {
    place: Option<Place>,
    /// Whoever finds no connection opens one, and the others wait for it.
    connection: Mutex<Option<MultiplexedConnection>>,
    /// Tells a connection from the one before.
    generation: Cell<u64>,
    /// Who it was opened as.
    token: RefCell<Option<Arc<Token>>>,
}

impl Line {
    pub(super) fn to(place: Place) -> Self {
        Self { place: Some(place), ..Self::default() }
    }

    pub(super) async fn forget(&self, generation: u64) {
        let mut kept = self.connection.lock().await;
        if self.generation.get() == generation {
            *kept = None;
        }
    }

    /// The connection. Whoever waits for somebody else to open it waits no longer than it would for
    /// one of its own: behind a server that says nothing they would queue up.
    pub(super) async fn connected(
        &self,
        redis: &Redis,
    ) -> Result<(MultiplexedConnection, u64), Failure> {
        let token = redis.token().await?;
        let connected =
            tokio::time::timeout(redis.server.connect_timeout, self.connect(redis, token));
        connected.await.map_err(|_| Failure::Unreachable("timeout".to_owned()))?
    }

    async fn connect(
        &self,
        redis: &Redis,
        token: Option<Arc<Token>>,
    ) -> Result<(MultiplexedConnection, u64), Failure> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            let mut connection = connection.clone();
            let is_signed = match (&token, &*self.token.borrow()) {
                (Some(token), Some(own)) => token.is_same(own),
                (token, _) => token.is_none(),
            };
            if is_signed || redis.sign_in(&mut connection, token.as_deref()).await.is_ok() {
                self.token.replace(token);
                return Ok((connection, self.generation.get()));
            }
        }
        let opened = redis.open(self.place.as_ref(), token.as_deref()).await?;
        *kept = Some(opened.clone());
        self.token.replace(token);
        self.generation.set(self.generation.get() + 1);
        Ok((opened, self.generation.get()))
    }

    /// Asks a second time when the connection turns out to be gone: one that was idle may have been
    /// closed by the server or by a firewall, which says nothing about the server.
    pub(super) async fn asked<T>(
        &self,
        redis: &Redis,
        ask: impl AsyncFn(&mut MultiplexedConnection) -> redis::RedisResult<T>,
    ) -> Result<T, Failure> {
        let mut is_first = true;
        loop {
            let (mut connection, generation) = self.connected(redis).await?;
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
}
