//! What goes wrong on a connection that is open.

use std::io;

use thiserror::Error;

use super::super::upload::Cut;
use super::{HEAD_MAX, LINES_MAX};
use crate::http1::{Broken, WrongLength};

/// Why an open connection brought no whole answer. Behind `source` is what the system or TLS says.
#[derive(Debug, Error)]
pub enum Fault {
    /// Nothing came.
    #[error("it closed the connection without an answer")]
    NoAnswer,
    /// The head has no end.
    #[error("it closed the connection within the head of its answer")]
    HalfHead,
    /// The body has no end.
    #[error("it closed the connection within the body of its answer")]
    HalfBody,
    /// The system, or TLS.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// It does not speak HTTP/1, or not as anybody should.
    #[error("its answer is not HTTP: {0}")]
    NotHttp(&'static str),
    /// Where it ends can be read in two ways: the second may be somebody else's answer.
    #[error("its answer is framed in a way that is not safe: {0}")]
    Framing(&'static str),
    /// More than anybody needs.
    #[error("the head of its answer has more than {HEAD_MAX} bytes or {LINES_MAX} lines")]
    LargeHead,
    /// A chunk is none.
    #[error("its body is not chunked as it says: {0}")]
    Chunks(&'static str),
    /// Whoever sends the request's body did not finish it.
    #[error("the body of the request broke off")]
    Request(#[source] Cut),
    /// Its end is not where `Content-Length` says.
    #[error("the body of the request is not as long as its Content-Length")]
    RequestLength,
    /// HTTP/2, which the library speaks.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Half => Self::HalfBody,
            Broken::Chunks(what) => Self::Chunks(what),
        }
    }
}

impl From<WrongLength> for Fault {
    fn from(_: WrongLength) -> Self {
        Self::RequestLength
    }
}

impl Fault {
    /// Whether what came as a head is none.
    pub(in super::super) fn is_no_http(&self) -> bool {
        match self {
            Self::NotHttp(_) | Self::LargeHead => true,
            Self::Http2(error) => error.is_parse(),
            _ => false,
        }
    }
}
