//! What the chain knows about a plugin.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use thiserror::Error;

use crate::pdk::{Chunk, Exchange, Handshake};

/// One configured plugin, as the chain sees it.
///
/// `rewrite`, `access` and `response` may wait; the other phases may not, because the response is
/// already moving and Kong's Lua cannot yield there either. A plugin lives on one worker thread,
/// so it may hold `Rc`, `Cell` and Lua tables.
pub trait Plugin {
    /// The phases it wants. Asked once per configuration: the others cost nothing.
    fn phases(&self) -> Phases;

    /// A client shakes hands, and there is no request yet; only global plugins.
    fn certificate<'a>(&'a self, _handshake: &'a Rc<Handshake>) -> Step<'a> {
        Step::DONE
    }

    /// Before routing; only global plugins.
    fn rewrite<'a>(&'a self, _ex: &'a Exchange) -> Step<'a> {
        Step::DONE
    }

    /// A plugin that runs earlier is about to ask a model: what this one will want to know of it.
    /// Only with [`Phases::AHEAD`].
    fn ahead(&self, _ex: &Exchange) {}

    /// After routing, before the upstream.
    fn access<'a>(&'a self, _ex: &'a Exchange) -> Step<'a> {
        Step::DONE
    }

    /// Whether the reply must be read whole for `response`; asked when its head is known.
    fn buffers(&self, _ex: &Exchange) -> bool {
        true
    }

    /// The whole reply is in `ex.response.body()`; nothing has gone to the client yet.
    fn response<'a>(&'a self, _ex: &'a Exchange) -> Step<'a> {
        Step::DONE
    }

    /// The head is about to go to the client.
    fn header_filter(&self, _ex: &Exchange) -> Outcome {
        Ok(())
    }

    /// A piece of the body is about to go to the client.
    fn body_filter(&self, _ex: &Exchange, _chunk: &mut Chunk) -> Outcome {
        Ok(())
    }

    /// The exchange is over, however it ended.
    fn log(&self, _ex: &Exchange) {}

    /// What the next instance gets when a reload leaves the configuration as it is.
    fn state(&self) -> Option<Rc<dyn Any>> {
        None
    }
}

/// Code of a configuration that counts something for a plugin.
pub trait Counting {
    /// The number, in a phase that may wait; or why there is none.
    fn ask<'a>(&'a self, ex: &'a Exchange, phase: &'static str) -> Count<'a>;

    /// The number, in a phase that may not wait.
    ///
    /// # Errors
    /// There is none.
    fn ask_at_once(&self, ex: &Exchange, phase: &'static str) -> Result<f64, Uncounted>;
}

/// A number that is waited for.
pub type Count<'a> = Pin<Box<dyn Future<Output = Result<f64, Uncounted>> + 'a>>;

/// Why there is no number.
#[derive(Debug)]
pub enum Uncounted {
    /// The code has answered the client.
    Answered,
    /// It has failed: its message.
    Failed(String),
    /// It has returned something else than a number from 0 to 1e15: the type, or the number.
    NoCount(String),
}

/// How a phase of a plugin ended.
pub type Outcome = Result<(), Stop>;

/// Why a plugin stopped the chain.
#[derive(Debug, Error)]
pub enum Stop {
    /// The plugin has answered the client itself.
    #[error("the plugin answered")]
    Exit,
    /// The plugin failed: the client gets Kong's 500, the operator this text.
    #[error("{0:#}")]
    Fault(#[from] anyhow::Error),
}

/// A phase that may have to wait. Most do not, and cost no allocation.
pub enum Step<'a> {
    /// It is over.
    Done(Outcome),
    /// It waits for something.
    Wait(Pin<Box<dyn Future<Output = Outcome> + 'a>>),
}

impl<'a> Step<'a> {
    /// Nothing to do.
    pub const DONE: Self = Self::Done(Ok(()));

    /// A step that waits.
    pub fn wait(future: impl Future<Output = Outcome> + 'a) -> Self {
        Self::Wait(Box::pin(future))
    }

    /// The end of the step.
    pub async fn outcome(self) -> Outcome {
        match self {
            Self::Done(outcome) => outcome,
            Self::Wait(future) => future.await,
        }
    }
}

/// A set of phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Phases(u16);

impl Phases {
    /// `rewrite`.
    pub const REWRITE: Self = Self(1);
    /// `access`.
    pub const ACCESS: Self = Self(2);
    /// `response`: the reply is buffered.
    pub const RESPONSE: Self = Self(4);
    /// `header_filter`.
    pub const HEADER_FILTER: Self = Self(8);
    /// `body_filter`.
    pub const BODY_FILTER: Self = Self(16);
    /// `log`.
    pub const LOG: Self = Self(32);
    /// It reads the log record in `log`: without such a plugin nobody makes one.
    pub const RECORD: Self = Self(64);
    /// Its `body_filter` may fail: the head waits for the first piece, which nginx holds back with
    /// it, so that the client can be told.
    pub const MAY_FAIL: Self = Self(128);
    /// `certificate`.
    pub const CERTIFICATE: Self = Self(256);
    /// It asks a model in `access` or later: [`Plugin::ahead`] of those behind it comes first.
    pub const MODEL: Self = Self(512);
    /// It wants to be asked ahead of a plugin that asks a model.
    pub const AHEAD: Self = Self(1024);
    /// It is written in Lua, and may ask in any phase for anything that is known: what is kept for
    /// such questions is not kept where nobody asks them.
    pub const ASKS_ALL: Self = Self(2048);
    /// None.
    pub const NONE: Self = Self(0);

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in here.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
