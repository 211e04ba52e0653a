//! Idle connections of a worker, by the names of their pools.
//!
//! A pool that was given a size at `connect` counts its connections, and lets a few more wait for
//! one (`backlog`). The size of a pool is that of its first user.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::conn::{Conn, Failure};

/// The pools of a VM.
#[derive(Default)]
pub(super) struct Pools(RefCell<HashMap<Rc<str>, Rc<Pool>>>);

pub(super) struct Pool {
    name: Rc<str>,
    pools: Weak<Pools>,
    size: usize,
    /// How many may wait; `None` lets everybody connect.
    backlog: Option<usize>,
    /// Connections of this pool, idle ones included.
    open: Cell<usize>,
    /// The one used last is in front.
    idle: RefCell<VecDeque<Idle>>,
    waiting: RefCell<VecDeque<oneshot::Sender<Turn>>>,
}

/// Counts as a connection of its pool while it lives. The pool has its idle connections, and they
/// have their seats.
pub(super) struct Seat(Weak<Pool>);

/// What somebody who waited gets.
pub(super) enum Turn {
    Kept(Box<Conn>),
    /// Room for a new connection.
    Free(Seat),
}

/// A connection in a pool. Its task ends it when it is closed or its time is over.
struct Idle {
    conn: Rc<RefCell<Option<Conn>>>,
    task: AbortHandle,
}

impl Pools {
    /// The pool of this name; a new one if there is none, and a size is given.
    pub(super) fn pool(
        self: &Rc<Self>,
        name: &Rc<str>,
        size: Option<usize>,
        backlog: Option<usize>,
    ) -> Option<Rc<Pool>> {
        if let Some(pool) = self.0.borrow().get(name) {
            return Some(pool.clone());
        }
        let pool = Rc::new(Pool {
            name: name.clone(),
            pools: Rc::downgrade(self),
            size: size?,
            backlog,
            open: Cell::new(0),
            idle: RefCell::default(),
            waiting: RefCell::default(),
        });
        self.0.borrow_mut().insert(name.clone(), pool.clone());
        Some(pool)
    }
}

impl Pool {
    /// An idle connection, or room for a new one; where there is none, whoever asks waits.
    pub(super) async fn turn(self: &Rc<Self>, wait: Duration) -> Result<Turn, Failure> {
        if let Some(conn) = self.idle_conn() {
            return Ok(Turn::Kept(Box::new(conn)));
        }
        let Some(backlog) = self.backlog.filter(|_| self.open.get() >= self.size) else {
            return Ok(Turn::Free(self.seat()));
        };
        self.waiting.borrow_mut().retain(|waiter| !waiter.is_closed());
        if self.waiting.borrow().len() >= backlog {
            return Err(Failure::Told("too many waiting connect operations".to_owned()));
        }
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().push_back(sender);
        match tokio::time::timeout(wait, receiver).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Failure::Timeout),
        }
    }

    pub(super) fn seat(self: &Rc<Self>) -> Seat {
        self.open.set(self.open.get() + 1);
        // It was forgotten if its last connection has ended while it was asked for one.
        if let Some(pools) = self.pools.upgrade()
            && let Ok(mut pools) = pools.0.try_borrow_mut()
        {
            pools.entry(self.name.clone()).or_insert_with(|| self.clone());
        }
        Seat(Rc::downgrade(self))
    }

    fn idle_conn(&self) -> Option<Conn> {
        loop {
            let idle = self.idle.borrow_mut().pop_front()?;
            idle.task.abort();
            let conn = idle.conn.borrow_mut().take();
            if let Some(mut conn) = conn
                && conn.is_idle().is_ok()
            {
                conn.reused += 1;
                return Some(conn);
            }
        }
    }

    /// Keeps a connection for others, for so long.
    pub(super) fn keep(self: &Rc<Self>, mut conn: Conn, idle: Option<Duration>) {
        if !conn.seat.as_ref().is_some_and(|seat| std::ptr::eq(seat.0.as_ptr(), Rc::as_ptr(self))) {
            conn.seat = Some(self.seat());
        }
        let mut kept = Box::new(conn);
        loop {
            let Some(waiter) = self.waiting.borrow_mut().pop_front() else { break };
            kept.reused += 1;
            match waiter.send(Turn::Kept(kept)) {
                Ok(()) => return,
                Err(Turn::Kept(back)) => kept = back,
                Err(Turn::Free(_)) => return,
            }
            kept.reused -= 1;
        }
        let oldest = if self.idle.borrow().len() >= self.size.max(1) {
            self.idle.borrow_mut().pop_back()
        } else {
            None
        };
        if let Some(oldest) = oldest {
            drop(oldest.conn.borrow_mut().take());
        }
        let conn = Rc::new(RefCell::new(Some(*kept)));
        let task = tokio::task::spawn_local(watch(conn.clone(), Rc::downgrade(self), idle));
        let task = task.abort_handle();
        self.idle.borrow_mut().push_front(Idle { conn, task });
    }
}

/// Ends an idle connection when its peer closes it or says something, or after so long.
async fn watch(conn: Rc<RefCell<Option<Conn>>>, pool: Weak<Pool>, idle: Option<Duration>) {
    let word = poll_fn(|cx| match conn.borrow_mut().as_mut() {
        Some(conn) => conn.poll_fill(cx).map(drop),
        None => std::task::Poll::Ready(()),
    });
    match idle {
        Some(idle) => drop(tokio::time::timeout(idle, word).await),
        None => word.await,
    }
    if let Some(pool) = pool.upgrade() {
        pool.idle.borrow_mut().retain(|idle| !Rc::ptr_eq(&idle.conn, &conn));
    }
    drop(conn.borrow_mut().take());
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(pool) = self.0.upgrade() else { return };
        pool.open.set(pool.open.get().saturating_sub(1));
        loop {
            let Some(waiter) = pool.waiting.borrow_mut().pop_front() else { break };
            if waiter.is_closed() {
                continue;
            }
            // A seat that cannot be given away drops here, and looks for the next who waits.
            drop(waiter.send(Turn::Free(pool.seat())));
            return;
        }
        // A pool without connections is forgotten.
        if pool.open.get() == 0
            && let Some(pools) = pool.pools.upgrade()
            && let Ok(mut pools) = pools.0.try_borrow_mut()
            && pools.get(&pool.name).is_some_and(|known| Rc::ptr_eq(known, &pool))
        {
            pools.remove(&pool.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::super::stream::{Plain, Stream};
    use super::*;

    fn conn() -> (Conn, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Conn::new(Stream::Plain(Plain::Unix(ours)), "a".into(), None), theirs)
    }

    fn on_a_worker<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, future)
    }

    #[test]
    fn a_dead_connection_does_not_take_the_pool_from_who_asks_it() {
        on_a_worker(async {
            let pools: Rc<Pools> = Rc::default();
            let pool = pools.pool(&"a".into(), Some(1), Some(0)).unwrap();
            let (mut kept, _peer) = conn();
            kept.is_read_over = true;
            pool.keep(kept, None);
            let Ok(Turn::Free(seat)) = pool.turn(Duration::ZERO).await else { panic!("no seat") };
            let same = pools.pool(&"a".into(), Some(1), None).unwrap();
            assert!(Rc::ptr_eq(&same, &pool));
            assert!(same.turn(Duration::ZERO).await.is_err(), "its size is not kept");
            drop(seat);
            assert!(pools.0.borrow().is_empty());
        });
    }

    #[test]
    fn the_last_seat_of_a_forgotten_pool_does_not_remove_another_of_its_name() {
        let pools: Rc<Pools> = Rc::default();
        let seat = pools.pool(&"a".into(), Some(1), None).unwrap().seat();
        let old = pools.0.borrow_mut().remove("a").unwrap();
        let new = pools.pool(&"a".into(), Some(1), None).unwrap();
        drop(seat);
        assert!(pools.0.borrow().get("a").is_some_and(|known| Rc::ptr_eq(known, &new)));
        assert_eq!(old.open.get(), 0);
    }

    #[test]
    fn idle_connections_end_with_the_vm() {
        on_a_worker(async {
            let pools: Rc<Pools> = Rc::default();
            let pool = pools.pool(&"a".into(), Some(1), None).unwrap();
            pool.keep(conn().0, None);
            let left = Rc::downgrade(&pool);
            drop((pool, pools));
            assert!(left.upgrade().is_none());
        });
    }
}
