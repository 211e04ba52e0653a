//! A TLS handshake on its way: what plugins see and change in Kong's phase `certificate`.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::request::Connection;

/// A handshake of which no more is known than what the client has begun with.
pub struct Handshake {
    /// The connection, with the name that the client asks for.
    pub connection: Connection,
    /// What plugins want of it.
    pub wish: RefCell<Wish>,
    spaces: RefCell<Option<Rc<dyn Any>>>,
}

/// What plugins want of a handshake.
#[derive(Default)]
pub struct Wish {
    /// What is shown in place of the configuration's certificates; if that is nothing, there is no
    /// handshake.
    pub shown: Option<Shown>,
    /// The client is asked for a certificate. These are the authorities that it is told of; the
    /// handshake succeeds with any certificate, and without one.
    pub asks: Option<Vec<CertificateDer<'static>>>,
    /// No session of it can be resumed.
    pub is_once: bool,
}

/// A certificate with its chain and its key, as far as a plugin has set them.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Shown {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: Option<PrivateKeyDer<'static>>,
}

impl Wish {
    /// Whether the listener's own ways do.
    pub fn is_none(&self) -> bool {
        self.shown.is_none() && self.asks.is_none() && !self.is_once
    }
}

impl Handshake {
    /// One that has just begun.
    pub fn new(connection: Connection) -> Self {
        Self { connection, wish: RefCell::default(), spaces: RefCell::default() }
    }

    /// What Lua keeps for all plugins of this handshake; made when it is first asked for.
    pub fn spaces(&self, make: impl FnOnce() -> Rc<dyn Any>) -> Rc<dyn Any> {
        self.spaces.borrow_mut().get_or_insert_with(make).clone()
    }
}

impl fmt::Debug for Handshake {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handshake {{ sni: {:?} }}", self.connection.sni)
    }
}
