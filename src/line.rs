//! A connection that many use at once: opened when somebody asks, and opened anew after it broke.
//!
//! What servers that are no upstream have in common ([`crate::redis`], [`crate::postgres`]): the
//! rest, such as how to sign in and which errors say what, is theirs.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Mutex;

/// A connection, if there is one by now.
pub struct Line<C> {
    /// Whoever finds no connection opens one, and the others wait for it.
    connection: Mutex<Option<C>>,
    /// Tells a connection from the one before.
    generation: Cell<u64>,
}

/// A connection, and which one it is.
pub struct Held<C> {
    connection: C,
    generation: u64,
}

/// Why there is no answer, and what that says of the connection.
pub struct Lost<F> {
    /// Why.
    pub failure: F,
    /// Nobody is to use the connection any more.
    pub is_broken: bool,
    /// It had ended already, so the server has not seen the question.
    pub is_gone: bool,
}

impl<C> Default for Line<C> {
    fn default() -> Self {
        Self { connection: Mutex::default(), generation: Cell::default() }
    }
}

impl<C: Clone> Line<C> {
    /// The connection, if it still suits, or a new one. Whoever waits for somebody else to open it
    /// waits no longer than it would for one of its own: behind a server that says nothing they
    /// would queue up.
    ///
    /// # Errors
    /// It cannot be opened, or not in time: `late`.
    pub async fn connected<F>(
        &self,
        patience: Duration,
        late: F,
        suits: impl AsyncFnOnce(&mut C) -> bool,
        open: impl AsyncFnOnce() -> Result<C, F>,
    ) -> Result<Held<C>, F> {
        let connect = async {
            let mut kept = self.connection.lock().await;
            if let Some(connection) = &*kept {
                let mut connection = connection.clone();
                if suits(&mut connection).await {
                    return Ok(Held { connection, generation: self.generation.get() });
                }
            }
            let connection = open().await?;
            *kept = Some(connection.clone());
            self.generation.set(self.generation.get() + 1);
            Ok(Held { connection, generation: self.generation.get() })
        };
        tokio::time::timeout(patience, connect).await.unwrap_or(Err(late))
    }

    /// Asks a second time when the connection turns out to be gone: one that was idle may have been
    /// closed by the server or by a firewall, which says nothing about the server.
    ///
    /// # Errors
    /// There is no connection, or no answer.
    pub async fn asked<T, F>(
        &self,
        connect: impl AsyncFn() -> Result<Held<C>, F>,
        ask: impl AsyncFn(&mut C) -> Result<T, Lost<F>>,
    ) -> Result<T, F> {
        let mut is_first = true;
        loop {
            let Held { mut connection, generation } = connect().await?;
            let lost = match ask(&mut connection).await {
                Ok(answer) => return Ok(answer),
                Err(lost) => lost,
            };
            if lost.is_broken {
                self.forget(generation).await;
            }
            if !std::mem::take(&mut is_first) || !lost.is_gone {
                return Err(lost.failure);
            }
        }
    }

    async fn forget(&self, generation: u64) {
        let mut kept = self.connection.lock().await;
        if self.generation.get() == generation {
            *kept = None;
        }
    }
}
