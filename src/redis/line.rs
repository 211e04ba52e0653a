//! A connection to one server, which is signed in again when its token has been renewed.

use std::cell::RefCell;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;

use super::server::Place;
use super::{Failure, Redis, told};
use crate::azure::Token;
use crate::line::{Held, Line as Connection, Lost};

/// A place, or any of those that the configuration names.
#[derive(Default)]
pub(super) struct Line {
    place: Option<Place>,
    connection: Connection<MultiplexedConnection>,
    /// Who it was opened as.
    token: RefCell<Option<Arc<Token>>>,
}

impl Line {
    pub(super) fn to(place: Place) -> Self {
        Self { place: Some(place), ..Self::default() }
    }

    /// Asks, and asks once more when the connection was gone.
    pub(super) async fn asked<T>(
        &self,
        redis: &Redis,
        ask: impl AsyncFn(&mut MultiplexedConnection) -> redis::RedisResult<T>,
    ) -> Result<T, Failure> {
        let ask = async |connection: &mut MultiplexedConnection| {
            ask(connection).await.map_err(|error| Lost {
                is_broken: error.is_io_error() || error.is_unrecoverable_error(),
                is_gone: error.is_connection_dropped() && !error.is_timeout(),
                failure: told(&error),
            })
        };
        self.connection.asked(async || self.connected(redis).await, ask).await
    }

    async fn connected(&self, redis: &Redis) -> Result<Held<MultiplexedConnection>, Failure> {
        let token = redis.token().await?;
        let suits = async |connection: &mut MultiplexedConnection| {
            let is_signed = match (&token, &*self.token.borrow()) {
                (Some(token), Some(own)) => token.is_same(own),
                (token, _) => token.is_none(),
            };
            let suits = is_signed || redis.sign_in(connection, token.as_deref()).await.is_ok();
            if suits {
                self.token.replace(token.clone());
            }
            suits
        };
        let open = async || {
            let opened = redis.open(self.place.as_ref(), token.as_deref()).await?;
            self.token.replace(token.clone());
            Ok(opened)
        };
        let late = Failure::Unreachable("timeout".to_owned());
        self.connection.connected(redis.server.connect_timeout, late, suits, open).await
    }
}
