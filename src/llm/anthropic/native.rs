//! Targets that speak Anthropic's API themselves, as Claude does on Azure's Foundry.
//!
//! What clients send passes but for its model, and what comes back passes as it is. Only the
//! version of the API has to be named where a client names none.

use std::borrow::Cow;
use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::llm::config::Options;
use crate::llm::convert::Said;
use crate::llm::error::Error;
use crate::llm::json;
use crate::llm::plan::{Invalid, Plan};
use crate::llm::splice::{Edit, Key, Object, quote};
use crate::llm::{Body, RouteType, Wire};

static REQUESTS: LazyLock<Key> = LazyLock::new(|| Key::new("requests"));
static PARAMS: LazyLock<Key> = LazyLock::new(|| Key::new("params"));
static MODEL: LazyLock<Key> = LazyLock::new(|| Key::new("model"));

/// The header that names the version of the API; without it a request is refused.
pub const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// The only version there is (2026).
const FIRST_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");

/// The version for clients that name none.
pub(in crate::llm) fn version(options: &Options) -> Result<HeaderValue, Invalid> {
    let Some(version) = options.anthropic_version.as_deref() else { return Ok(FIRST_VERSION) };
    let invalid = Invalid::Header("model.options.anthropic_version");
    HeaderValue::from_str(version).map_err(|_| invalid)
}

impl Plan {
    /// Whose API the target speaks.
    pub fn wire(&self) -> Wire {
        self.operation.wire
    }

    /// The version of Anthropic's API for clients that name none, where it is spoken.
    pub fn anthropic_version(&self) -> Option<&HeaderValue> {
        (self.wire() == Wire::Messages).then_some(&self.anthropic_version)
    }

    /// A batch, each of whose requests names the deployment; the rest keeps its bytes.
    pub(in crate::llm) fn in_batch(
        &self,
        said: &Said<'_>,
        body: &Body,
    ) -> Result<Option<Bytes>, Error> {
        let Some(object) = body.object() else { return self.credential.in_preserved(body) };
        let list = object.get("requests").unwrap_or_default();
        let mut requests = Vec::with_capacity(list.len());
        let mut done = 0;
        for request in json::items(list) {
            let from = request.as_ptr() as usize - list.as_ptr() as usize;
            requests.extend_from_slice(&list[done..from]);
            requests.extend_from_slice(&self.in_request(said, request)?);
            done = from + request.len();
        }
        requests.extend_from_slice(&list[done..]);
        let mut edits: SmallVec<[Edit<'_>; 2]> = SmallVec::new();
        edits.extend((!list.is_empty()).then(|| Edit::set(&REQUESTS, &requests)));
        edits.extend(self.credential.in_body(body));
        Ok(Some(object.edited(&edits)))
    }

    fn in_request<'r>(&self, said: &Said<'_>, request: &'r [u8]) -> Result<Cow<'r, [u8]>, Error> {
        let read = Object::read(request).ok();
        let params = read.as_ref().and_then(|request| Object::read(request.get("params")?).ok());
        let (Some(request_object), Some(params)) = (&read, &params) else {
            return Ok(Cow::Borrowed(request)); // Claude says what is wrong with it
        };
        let asked = params.get("model").and_then(json::text);
        if let Some(other) = asked.filter(|model| !self.answers_to(model)) {
            let own = self.name().map_or_else(|| other.into_owned(), |own| own.to_string());
            return Err(Error::OwnModel(own));
        }
        let own = said.located.model.as_deref().or(self.name().map(|name| &**name));
        let Some(own) = own else { return Ok(Cow::Borrowed(request)) };
        let params = params.splice(&[Edit::set(&MODEL, &quote(own))]);
        Ok(Cow::Owned(request_object.splice(&[Edit::set(&PARAMS, &params)])))
    }

    /// Whether the text of a stream is the gateway's to measure, where it says no tokens.
    pub fn is_text(&self) -> bool {
        self.converts()
            || self.route_type() == RouteType::Responses
            || self.wire() == Wire::Messages
    }
}
