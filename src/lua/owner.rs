//! Whom a socket belongs to: a request or a timer. It is closed with them, and nobody else may use
//! it (OpenResty: "bad request").

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::rc::{Rc, Weak};

use mlua::Lua;

use super::state;

tokio::task_local! {
    /// The timer whose turn it is; light threads have that of their maker.
    static TIMER: Rc<Owner>;
    /// The call of a phase or the light thread whose turn it is.
    static HOLDER: Rc<Owner>;
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
}

impl Owner {
    /// Whoever runs now; `None` while modules load and in `init_worker`.
    pub(super) fn current(lua: &Lua) -> mlua::Result<Option<Rc<Self>>> {
        match state::current() {
            Some(ex) => Ok(Some(state::of(lua, &ex)?.owner.clone())),
            None => Ok(TIMER.try_with(Rc::clone).ok()),
        }
    }

    /// Runs a timer, or what else has no request.
    pub(super) async fn timer<T>(work: impl Future<Output = T>) -> T {
        TIMER.scope(Rc::default(), work).await
    }

    /// Runs a phase's call or a light thread: what it holds is let go when this ends or is dropped.
    pub(super) async fn holding<T>(work: impl Future<Output = T>) -> T {
        HOLDER.scope(Rc::default(), work).await
    }

    /// Who holds what is not to outlive the code that runs.
    pub(super) fn holder(lua: &Lua) -> mlua::Result<Option<Rc<Self>>> {
        match HOLDER.try_with(Rc::clone) {
            Ok(holder) => Ok(Some(holder)),
            Err(_) => Self::current(lua),
        }
    }

    /// Runs a light thread of a timer.
    pub(super) async fn thread<T>(self: Rc<Self>, work: impl Future<Output = T>) -> T {
        TIMER.scope(self, work).await
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

impl Drop for Owner {
    fn drop(&mut self) {
        let open = std::mem::take(self.open.get_mut());
        open.into_values().filter_map(|weak| weak.upgrade()).for_each(|open| open.close());
    }
}
