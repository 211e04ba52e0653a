//! Whom a socket belongs to: a request or a timer. It is closed with them, and nobody else may use
//! it (OpenResty: "bad request").

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::Poll;

use mlua::{Lua, Table};
use tokio::sync::Notify;

use super::state;

tokio::task_local! {
    /// The timer whose turn it is; light threads have that of their maker.
    static TIMER: Rc<Owner>;
    /// The call of a phase or the light thread whose turn it is; most wait for nothing, and need
    /// no owner.
    static HOLDER: OnceCell<Rc<Owner>>;
}

/// Something that is open and can be closed.
pub(super) trait Closes {
    /// Closes it, whatever it is busy with.
    fn close(&self);
}

/// A request or a timer, and what it has open.
#[derive(Default)]
pub(super) struct Owner {
    open: RefCell<HashMap<*const (), Weak<dyn Closes>>>,
    /// `ngx.ctx` of a timer or a handshake.
    ctx: RefCell<Option<Table>>,
    /// What `kong.ctx` holds there: `shared`, and plugins by their id.
    spaces: RefCell<Option<Table>>,
    /// Wakes its code and its light threads when it has ended itself: what `ngx.exit` said.
    leaving: Notify,
    said: Cell<Option<f64>>,
}

impl Owner {
    /// Whoever runs now; `None` while modules load and in `init_worker`.
    pub(super) fn current(lua: &Lua) -> mlua::Result<Option<Rc<Self>>> {
        match state::current() {
            Some(ex) => Ok(Some(state::of(lua, &ex).owner.clone())),
            None => Ok(TIMER.try_with(Rc::clone).ok()),
        }
    }

    /// Runs a timer, or what else has no request; `None` if it ends itself with `ngx.exit`.
    pub(super) async fn timer<T>(work: impl Future<Output = T>) -> Option<T> {
        Rc::<Self>::default().thread(work).await
    }

    /// Ends its code, light threads too, where each of them waits next.
    pub(super) fn leave(&self, said: f64) {
        self.said.set(Some(said));
        self.leaving.notify_waiters();
    }

    /// With what its code has ended itself.
    pub(super) fn said(&self) -> Option<f64> {
        self.said.take()
    }

    /// Runs a phase's call or a light thread: what its host calls hold is let go when this ends or
    /// is dropped.
    pub(super) async fn holding<T>(work: impl Future<Output = T>) -> T {
        HOLDER.scope(OnceCell::new(), work).await
    }

    /// `ngx.ctx` of a timer or a handshake.
    pub(super) fn ctx(&self, lua: &Lua) -> mlua::Result<Table> {
        kept(&self.ctx, || lua.create_table())
    }

    /// What is behind `kong.ctx` of a timer or a handshake.
    pub(super) fn spaces(&self, lua: &Lua) -> mlua::Result<Table> {
        kept(&self.spaces, || lua.create_table())
    }

    /// Runs a light thread of a timer; `None` if the timer is ended first.
    pub(super) async fn thread<T>(self: Rc<Self>, work: impl Future<Output = T>) -> Option<T> {
        let mut left = pin!(self.leaving.notified());
        left.as_mut().enable();
        tokio::select! {
            biased;
            done = TIMER.scope(self.clone(), work) => Some(done),
            () = left => None,
        }
    }

    /// Closes this with the owner.
    pub(super) fn add<C: Closes + 'static>(&self, opened: &Rc<C>) {
        let weak: Weak<C> = Rc::downgrade(opened);
        self.open.borrow_mut().insert(Rc::as_ptr(opened).cast(), weak);
    }

    /// It is closed, or belongs to nobody any more.
    pub(super) fn remove<C>(&self, closed: *const C) {
        self.open.borrow_mut().remove(&closed.cast());
    }
}

/// What a host call waits for.
struct Wait<T>(RefCell<Option<Pin<Box<dyn Future<Output = T>>>>>);

impl<T> Closes for Wait<T> {
    fn close(&self) {
        if let Ok(mut wait) = self.0.try_borrow_mut() {
            drop(wait.take());
        }
    }
}

/// Waits for a host call. Code that is ended where it waits goes only when Lua collects it; what it
/// waits for must not be held for so long: it goes with the phase or the light thread.
pub(super) async fn held<T: 'static>(work: impl Future<Output = T> + 'static) -> T {
    let mut work: Pin<Box<dyn Future<Output = T>>> = Box::pin(work);
    let first = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx)));
    if let Poll::Ready(done) = first.await {
        return done;
    }
    // Weak, because this future may be all that is left of the code.
    let holder = HOLDER.try_with(|holder| Rc::downgrade(holder.get_or_init(Rc::default)));
    let Ok(holder) = holder else { return work.await };
    let wait = Rc::new(Wait(RefCell::new(Some(work))));
    if let Some(holder) = holder.upgrade() {
        holder.add(&wait);
    }
    let done = poll_fn(|cx| match wait.0.borrow_mut().as_mut() {
        Some(work) => work.as_mut().poll(cx),
        None => Poll::Pending,
    });
    let done = done.await;
    if let Some(holder) = holder.upgrade() {
        holder.remove(Rc::as_ptr(&wait));
    }
    done
}

/// The table of a cell, made when it is first asked for.
pub(super) fn kept(
    cell: &RefCell<Option<Table>>,
    make: impl FnOnce() -> mlua::Result<Table>,
) -> mlua::Result<Table> {
    if let Some(table) = &*cell.borrow() {
        return Ok(table.clone());
    }
    // Nothing is borrowed here: a new table may run a finalizer that asks for it, too.
    let made = make()?;
    Ok(cell.borrow_mut().get_or_insert(made).clone())
}

impl Drop for Owner {
    fn drop(&mut self) {
        let open = std::mem::take(self.open.get_mut());
        open.into_values().filter_map(|weak| weak.upgrade()).for_each(|open| open.close());
    }
}
