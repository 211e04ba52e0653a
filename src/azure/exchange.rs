//! One exchange: calls to a token endpoint until it grants a token or further calls are no use.
//!
//! Nobody's request waits in here; it runs as a task of its own (see [`super::slot`]), so it may
//! take as long as the endpoint's documentation asks for.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::time::Instant;

use super::clients::{Clients, NoReply, Reply};
use super::diagnosis;
use super::expiry;
use super::failure::{Cause, Class, Failure};
use super::identity::Identity;
use super::source::Source;
use crate::entity::Secret;

/// A token as it was granted.
#[derive(Clone)]
pub(crate) struct Grant {
    pub(crate) access_token: Secret,
    /// When the request was sent: lifetimes count from there.
    pub(crate) asked_at: Instant,
    pub(crate) lifetime: Duration,
    /// When the server wants it renewed, if it says so.
    pub(crate) refresh_in: Option<Duration>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Grant({:?}, {:?})", self.lifetime, self.refresh_in)
    }
}

/// Longest `Retry-After` that is waited for here; a longer one ends the exchange, and the failure
/// is remembered for as long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Calls the identity's endpoint, again after transient failures, as its rules allow.
pub(super) async fn exchange(
    clients: &Clients,
    identity: &Arc<Identity>,
) -> Result<Grant, Arc<Failure>> {
    repeat(identity, || identity.source.call(clients, identity.scope())).await
}

async fn repeat<F>(identity: &Arc<Identity>, call: impl Fn() -> F) -> Result<Grant, Arc<Failure>>
where
    F: Future<Output = Result<Grant, Cause>>,
{
    let start = Instant::now();
    let mut attempts = 1;
    loop {
        let cause = match call().await {
            Ok(grant) => return Ok(grant),
            Err(cause) => cause,
        };
        let Some(pause) = pause(&*identity.source, &cause, attempts) else {
            let (identity, elapsed) = (identity.clone(), start.elapsed());
            return Err(Arc::new(Failure { identity, cause, attempts, elapsed }));
        };
        tokio::time::sleep(pause).await;
        attempts += 1;
    }
}

/// The wait before the next call, or `None` when there is to be none.
fn pause(source: &dyn Source, cause: &Cause, attempts: u32) -> Option<Duration> {
    let pause = source.pause(cause, attempts)?;
    let wanted = cause.retry_after.unwrap_or_default();
    let jitter = 1.0 + fastrand::f64() / 4.0; // only longer: IMDS asks for at least a second
    (wanted <= PATIENCE).then(|| pause.max(wanted).mul_f64(jitter))
}

/// The clocks at the start of a request.
pub(super) struct Asked {
    at: Instant,
    epoch_secs: i64,
}

impl Asked {
    pub(super) fn now() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch_secs = i64::try_from(epoch.as_secs()).unwrap_or(i64::MAX);
        Self { at: Instant::now(), epoch_secs }
    }
}

/// Reads a reply; `secrets` are what the request held and no message may show.
pub(super) fn read(
    source: &dyn Source,
    asked: &Asked,
    reply: Result<Reply, NoReply>,
    secrets: &[&str],
) -> Result<Grant, Cause> {
    let reply = reply.map_err(|error| diagnosis::unreachable(source, &error))?;
    let refused = || diagnosis::refused(source, &reply, secrets);
    if reply.status != 200 {
        return Err(refused());
    }
    let body: Value = serde_json::from_str(&reply.body).map_err(|_| refused())?;
    let token = body["access_token"].as_str().filter(|token| !token.is_empty());
    let token = token.ok_or_else(refused)?;
    let lifetime = expiry::lifetime(&body, asked.epoch_secs).map_err(|problem| {
        let mut cause = Cause::new(Class::Protocol, problem.to_string(), "");
        cause.status = Some(reply.status);
        cause
    })?;
    Ok(Grant {
        access_token: Secret::new(token),
        asked_at: asked.at,
        lifetime,
        refresh_in: expiry::refresh_in(&body),
    })
}

#[cfg(test)]
mod tests;
