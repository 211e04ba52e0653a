//! Request bodies as the AI plugins in front of a model read them, and their refusals.
//!
//! Each of them reads the body as it stands: what one hands on, the next one and the model see.

use std::rc::Rc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use crate::llm::splice::Object;
use crate::llm::{Error, openai};
use crate::pdk::{Exchange, ReadError};
use crate::plugin::{Outcome, Stop};
use crate::respond::{self, Failure};
use crate::settings::Settings;

/// How much of a body is read, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bodies {
    /// `max_request_body_size`, if it is below the limit of the process.
    own: Option<usize>,
    process: usize,
}

/// Why a body was not read.
pub(super) enum Unread {
    /// It is longer than `max_request_body_size`.
    TooLarge(usize),
    /// The gateway's own limits, or the client.
    Gateway(Failure),
}

impl Bodies {
    /// Bodies within `max_request_body_size`; 0 leaves it to the process.
    pub(super) fn new(settings: &Settings, max_request_body_size: Option<u64>) -> Self {
        let process = settings.buffer_limit;
        let own = max_request_body_size.and_then(|limit| usize::try_from(limit).ok());
        Self { own: own.filter(|limit| (1..process).contains(limit)), process }
    }

    /// The whole body; a client whose body cannot be read has its answer.
    pub(super) async fn take(&self, ex: &Exchange) -> Result<Bytes, Stop> {
        self.read(ex).await.or_else(|unread| unread.answer(ex).and(Err(Stop::Exit)))
    }

    /// The whole body.
    pub(super) async fn read(&self, ex: &Exchange) -> Result<Bytes, Unread> {
        let own = self.own.filter(|_| !is_ours(ex));
        let body = ex.request.body(own.unwrap_or(self.process)).await;
        body.map_err(|error| match (own, &error) {
            (Some(limit), ReadError::TooLarge { .. }) => Unread::TooLarge(limit),
            _ => {
                tracing::info!(request_id = %ex.id, fault = "client", "request body: {error}");
                Unread::Gateway(Failure::from(&error))
            }
        })
    }
}

impl Unread {
    /// Tells the client.
    pub(super) fn answer(self, ex: &Exchange) -> Outcome {
        match self {
            Self::TooLarge(limit) => answer(ex, &Error::TooLarge { limit }),
            Self::Gateway(failure) => {
                respond::fail(ex, failure);
                Err(Stop::Exit)
            }
        }
    }
}

/// The body is one that an AI plugin has made. The client's was within the limit, and what the
/// operator adds to it counts for no other plugin's (Kong reads the client's body once).
struct Ours;

/// Puts a body in the place of the client's.
pub(super) fn replace(ex: &Exchange, body: Bytes) {
    ex.request.set_body(body);
    ex.own.keep(Rc::new(Ours));
}

/// Whether an AI plugin has made the body.
pub(super) fn is_ours(ex: &Exchange) -> bool {
    ex.own.find::<Ours>().is_some()
}

/// The JSON object in a body, if its type is JSON or not told (as ai-proxy reads it).
pub(super) fn object(ex: &Exchange, body: Bytes) -> Option<Object<Bytes>> {
    let kind = ex.request.header(CONTENT_TYPE);
    let is_json = kind.as_ref().map(HeaderValue::as_bytes).is_none_or(openai::is_json);
    Object::read(body).ok().filter(|_| is_json)
}

/// Refuses a request in the form of Kong's AI plugins.
pub(super) fn refuse(ex: &Exchange, message: &str) -> Outcome {
    fail(ex, StatusCode::BAD_REQUEST, message)
}

/// The same with another status.
pub(super) fn fail(ex: &Exchange, status: StatusCode, message: &str) -> Outcome {
    respond::exit_json(ex, status, &json!({ "error": { "message": message } }))
}

/// Answers with an error of the AI plugins.
pub(super) fn answer(ex: &Exchange, error: &Error) -> Outcome {
    let kind = "application/json; charset=utf-8";
    ex.response.exit(error.status(), Some(kind), error.body(ex.id.as_str()).into())
}

/// The line for a format that clients may not speak.
pub(super) fn other_format(format: Option<&str>, built: &[&str]) -> Result<(), Vec<String>> {
    match format.filter(|format| !built.contains(format)) {
        None => Ok(()),
        Some(format) => Err(vec![format!(
            "config.llm_format: '{format}' is not built yet; use {}",
            built.join(" or ")
        )]),
    }
}
