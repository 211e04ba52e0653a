//! In which phases Kong allows a function, and its words where it does not.

use std::rc::Rc;

use mlua::Lua;

use crate::lua::bind::Fault;
use crate::lua::{phase, state};
use crate::pdk::{CURRENT, Exchange, Phase};

/// A set of phases, by Kong's names.
#[derive(Clone, Copy)]
pub(in crate::lua) struct Phases {
    bits: u16,
    /// These are the ones in which the function is not allowed.
    refuses: bool,
}

const INIT_WORKER: u16 = 1;
const CERTIFICATE: u16 = 1 << 1;
const REWRITE: u16 = 1 << 3;
const ACCESS: u16 = 1 << 4;
const BALANCER: u16 = 1 << 5;
const RESPONSE: u16 = 1 << 6;
const CLUSTER_LISTENER: u16 = 1 << 7;
const HEADER_FILTER: u16 = 1 << 8;
const BODY_FILTER: u16 = 1 << 9;
const LOG: u16 = 1 << 10;
const PREREAD: u16 = 1 << 11;
const ERROR: u16 = 1 << 12;
const ADMIN_API: u16 = 1 << 13;

impl Phases {
    /// In Kong's order. Some have no plugin code here; they are in the texts because Kong's texts
    /// have them.
    const NAMES: [&'static str; 14] = [
        "init_worker",
        "certificate",
        "client_hello",
        "rewrite",
        "access",
        "balancer",
        "response",
        "cluster_listener",
        "header_filter",
        "body_filter",
        "log",
        "preread",
        "error",
        "admin_api",
    ];
    /// While there is a request.
    pub(super) const REQUEST: Self = Self::of(
        REWRITE
            | ACCESS
            | BALANCER
            | RESPONSE
            | CLUSTER_LISTENER
            | HEADER_FILTER
            | BODY_FILTER
            | LOG
            | ERROR
            | ADMIN_API,
    );
    /// Before the upstream's body is on its way.
    pub(super) const BEFORE_CONTENT: Self =
        Self::of(REWRITE | ACCESS | RESPONSE | ERROR | ADMIN_API);
    /// Before the upstream is called.
    pub(super) const REQUEST_CHANGE: Self = Self::of(REWRITE | ACCESS);
    /// The same, and while a target is chosen.
    pub(super) const TARGET_CHANGE: Self = Self::of(REWRITE | ACCESS | BALANCER);
    /// The same, for streams too.
    pub(super) const TARGET: Self = Self::of(REWRITE | ACCESS | BALANCER | PREREAD);
    /// While a target is chosen, and before for streams.
    pub(super) const BALANCING: Self = Self::of(BALANCER | PREREAD);
    /// While the response's head can be changed.
    pub(super) const RESPONSE_CHANGE: Self =
        Self::of(REWRITE | ACCESS | RESPONSE | BALANCER | HEADER_FILTER | ERROR | ADMIN_API);
    /// Once there is a response.
    pub(super) const RESPONSE: Self =
        Self::of(RESPONSE | HEADER_FILTER | BODY_FILTER | LOG | ERROR | ADMIN_API);
    /// Once the upstream has answered.
    pub(super) const SERVICE_RESPONSE: Self =
        Self::of(RESPONSE | HEADER_FILTER | BODY_FILTER | LOG);
    /// Once there is a Route.
    pub(super) const ROUTED: Self = Self::of(ACCESS | HEADER_FILTER | RESPONSE | BODY_FILTER | LOG);
    /// While plugins run for a request.
    pub(super) const PLUGINS: Self =
        Self::of(REWRITE | ACCESS | HEADER_FILTER | RESPONSE | BODY_FILTER | LOG);
    /// What a client's certificate is known in.
    pub(super) const CLIENT_CHAIN: Self = Self::of(REWRITE | ACCESS | RESPONSE | BALANCER | LOG);
    /// Where it may be judged.
    pub(super) const CLIENT_VERIFY: Self = Self::of(REWRITE | ACCESS | RESPONSE | BALANCER);
    /// `access` alone.
    pub(super) const ACCESS: Self = Self::of(ACCESS);
    /// `body_filter` alone.
    pub(super) const BODY_FILTER: Self = Self::of(BODY_FILTER);
    /// `log` alone.
    pub(super) const LOG: Self = Self::of(LOG);
    /// `certificate` alone.
    pub(super) const CERTIFICATE: Self = Self::of(CERTIFICATE);
    /// Once the worker runs.
    pub(super) const NOT_INIT_WORKER: Self = Self { bits: INIT_WORKER, refuses: true };

    const fn of(bits: u16) -> Self {
        Self { bits, refuses: false }
    }

    /// Refuses a phase that is not in the set; code that belongs to none has no name for it.
    pub(super) fn check(self, lua: &Lua) -> Result<(), Fault> {
        let current = match state::current() {
            Some(ex) if self.has(ex.phase()) => return Ok(()),
            Some(ex) => Some(ex.phase().name()),
            None => phase::of_kong(lua)?,
        };
        let Some(current) = current else {
            return Err(match self.refuses {
                true => "no phase in ngx.ctx.KONG_PHASE".into(),
                false => {
                    let names = self.names();
                    format!("no phase in ngx.ctx.KONG_PHASE, (need one of {names})").into()
                }
            });
        };
        let at = Self::NAMES.iter().position(|name| *name == current).unwrap_or_default();
        if (self.bits & (1 << at) != 0) != self.refuses {
            return Ok(());
        }
        let names = self.names();
        Err(match self.refuses {
            true => format!(
                "function cannot be called in {current} phase (can be called in any phases \
                 except: {names})"
            ),
            false => format!("function cannot be called in {current} phase (only in: {names})"),
        }
        .into())
    }

    /// Runs something for the exchange whose turn it is, if that is in a phase of the set.
    pub(super) fn during<T>(self, run: impl FnOnce(&Exchange) -> Option<T>) -> Option<T> {
        let run = |ex: &Rc<Exchange>| self.has(ex.phase()).then(|| run(ex)).flatten();
        CURRENT.try_with(run).ok().flatten()
    }

    /// Whether a phase of an exchange is one of those that are allowed.
    fn has(self, phase: Phase) -> bool {
        let bit = match phase {
            Phase::Rewrite => REWRITE,
            Phase::Access => ACCESS,
            Phase::Balancer => BALANCER,
            Phase::Response => RESPONSE,
            Phase::HeaderFilter => HEADER_FILTER,
            Phase::BodyFilter => BODY_FILTER,
            Phase::Log => LOG,
        };
        (self.bits & bit != 0) != self.refuses
    }

    /// The exchange whose turn it is, in a phase of the set.
    pub(super) fn exchange(self, lua: &Lua) -> Result<Rc<Exchange>, Fault> {
        match state::current() {
            Some(ex) if self.has(ex.phase()) => Ok(ex),
            _ => self.check(lua).and(Err("no request found".into())),
        }
    }

    fn names(self) -> String {
        let names = Self::NAMES.iter().enumerate();
        let names: Vec<_> =
            names.filter(|(bit, _)| self.bits & (1 << bit) != 0).map(|(_, name)| *name).collect();
        names.join(", ")
    }
}
