//! Why there is no token, in words that lead to the repair.
//!
//! A [`Cause`] is what one call said; a [`Failure`] adds whose token it was, how often it was
//! tried and how long that took. Both are for operators: clients of the gateway get a plain
//! status. Secrets, assertions, tokens and identity headers are cut out before they get here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::identity::Identity;

/// What went wrong, by what can be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Somebody has to change a setting here or in Azure.
    Config,
    /// The federated token was refused as out of date.
    Assertion,
    /// The machine does not have the identity that was asked for.
    NotAssigned,
    /// The machine has several identities and none was named.
    Ambiguous,
    /// It may work in a moment.
    Transient,
    /// Whatever answered, or did not, is not a token endpoint.
    Unavailable,
    /// The answer makes no sense.
    Protocol,
    /// The caller's time was up before the exchange was over.
    Deadline,
    /// The gateway is stopping.
    Aborted,
    /// A mistake in the gateway itself.
    Defect,
}

impl Class {
    /// The name in metrics and log fields.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Assertion => "assertion",
            Self::NotAssigned => "identity-not-assigned",
            Self::Ambiguous => "ambiguous-identity",
            Self::Transient => "transient",
            Self::Unavailable => "unavailable",
            Self::Protocol => "protocol",
            Self::Deadline => "deadline",
            Self::Aborted => "aborted",
            Self::Defect => "defect",
        }
    }

    /// Whether only a person can end this failure.
    pub(super) fn needs_a_person(self) -> bool {
        matches!(self, Self::Config | Self::Assertion | Self::NotAssigned | Self::Ambiguous)
    }
}

/// What one call said, or why there was no call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// What can be done about it.
    pub class: Class,
    /// HTTP status of the endpoint's answer.
    pub status: Option<u16>,
    /// The number of an `AADSTS` code.
    pub code: Option<u32>,
    /// What it means, in a few words.
    pub meaning: String,
    /// What to do; empty when there is nothing to do but wait.
    pub remedy: String,
    /// The endpoint's or the system's own words, one bounded line without secrets.
    pub said: Box<str>,
    /// What Microsoft's support asks for.
    pub correlation_id: Option<Box<str>>,
    /// How long the endpoint wants to be left alone, at most 30 s.
    pub retry_after: Option<Duration>,
}

impl Cause {
    pub(super) fn new(class: Class, meaning: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            class,
            status: None,
            code: None,
            meaning: meaning.into(),
            remedy: remedy.into(),
            said: Box::default(),
            correlation_id: None,
            retry_after: None,
        }
    }

    pub(super) fn saying(mut self, said: String) -> Self {
        self.said = said.into();
        self
    }

    /// The label in metrics: `AADSTS7000215`, `http_503`, or the class.
    pub fn label(&self) -> String {
        match (self.code, self.status) {
            (Some(code), _) => format!("AADSTS{code}"),
            (None, Some(status)) => format!("http_{status}"),
            (None, None) => self.class.as_str().to_owned(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(status) = self.status {
            write!(f, "status {status}, ")?;
        }
        if let Some(code) = self.code {
            write!(f, "AADSTS{code}, ")?;
        }
        f.write_str(&self.meaning)?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", self.remedy)?;
        }
        if !self.said.is_empty() {
            write!(f, "; it said: {}", self.said)?;
        }
        if let Some(id) = &self.correlation_id {
            write!(f, "; correlation id {id}")?;
        }
        Ok(())
    }
}

/// No token for an identity: the cause, and what was tried.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The identity; its `Display` says why it was chosen.
    pub identity: Arc<Identity>,
    /// What the last call said.
    pub cause: Cause,
    /// Calls that were made.
    pub attempts: u32,
    /// From the first call to the end of the last.
    pub elapsed: Duration,
}

impl fmt::Display for Failure {
    /// One line for the operator: who, where, what, what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (endpoint, cause) = (self.identity.endpoint(), &self.cause);
        write!(f, "no Azure token from {endpoint}: {cause} (attempts {}", self.attempts)?;
        write!(f, ", {:.1} s) for {}", self.elapsed.as_secs_f64(), self.identity)
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// A short line for whoever has read the long one a moment ago.
    pub fn reminder(&self) -> String {
        let (subject, label) = (self.identity.subject(), self.cause.label());
        format!("no Azure token for {subject}: {label}, as explained in an earlier line")
    }

    /// Writes the operator's line; `old_token` tells how long an older token still serves.
    pub(super) fn log(&self, old_token: Option<Duration>) {
        let (who, what) = (&self.identity, &self.cause);
        if what.class == Class::Aborted {
            tracing::debug!("a token exchange is given up: {} ({who})", what.meaning);
            return;
        }
        let old_token_secs = old_token.map(|left| left.as_secs());
        let relief = old_token_secs
            .map(|secs| format!("; the old token serves for {secs} s more"))
            .unwrap_or_default();
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    source = who.kind(),
                    endpoint = who.endpoint(),
                    identity = who.subject(),
                    scope = who.scope(),
                    class = what.class.as_str(),
                    status = what.status,
                    aadsts = what.code,
                    correlation_id = what.correlation_id.as_deref(),
                    attempts = self.attempts,
                    elapsed_ms = self.elapsed.as_millis() as u64,
                    old_token_secs,
                    "{self}{relief}"
                )
            };
        }
        if old_token.is_some() { line!(warn) } else { line!(error) }
    }
}
