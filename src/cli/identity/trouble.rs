//! A failed token exchange, in parts that print and that scripts read.

use std::time::Duration;

use crate::azure::{Class, Failure};

/// Why an identity has no token.
pub(super) struct Trouble {
    /// The name of its class in metrics and log fields.
    pub(super) class: &'static str,
    /// What is the case.
    pub(super) meaning: String,
    /// What to do; empty when there is nothing to do but wait.
    pub(super) remedy: String,
    /// The endpoint's own words.
    pub(super) said: String,
    /// HTTP status of its answer.
    pub(super) status: Option<u16>,
    /// The number of an `AADSTS` code.
    pub(super) aadsts: Option<u32>,
    /// What Microsoft's support asks for.
    pub(super) correlation_id: Option<String>,
    /// Calls that were made.
    pub(super) attempts: u32,
    /// How long they took.
    pub(super) elapsed: Duration,
}

impl Trouble {
    /// `elapsed` counts when our own patience ended the wait.
    pub(super) fn new(failure: &Failure, elapsed: Duration) -> Self {
        let cause = &failure.cause;
        let is_ours = cause.class == Class::Deadline;
        let meaning = match is_ours {
            true => "the endpoint gave no answer in time (--timeout)".to_owned(),
            false => cause.meaning.clone(),
        };
        let wait = match (cause.remedy.is_empty(), cause.class) {
            (true, Class::Deadline) => "check the way to the endpoint, or try a longer --timeout",
            (true, Class::Transient) => "try again in a moment",
            (true, _) => "see its words",
            (false, _) => "",
        };
        Self {
            class: cause.class.as_str(),
            meaning,
            remedy: format!("{}{wait}", cause.remedy),
            said: cause.said.to_string(),
            status: cause.status,
            aadsts: cause.code,
            correlation_id: cause.correlation_id.as_deref().map(str::to_owned),
            attempts: failure.attempts,
            elapsed: if is_ours { elapsed } else { failure.elapsed },
        }
    }
}
