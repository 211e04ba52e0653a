//! One access token: how it is sent, when it is to be renewed, when it ends.

use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;

use super::exchange::Grant;
use super::failure::{Cause, Class};

/// An access token, ready to be sent.
#[derive(Debug)]
pub struct Token {
    /// Which grant it is: copies of one token have one serial.
    serial: u64,
    authorization: HeaderValue,
    asked_at: Instant,
    refresh_at: Instant,
    expires_at: Instant,
}

impl Token {
    pub(super) fn new(grant: &Grant) -> Result<Self, Cause> {
        let text = format!("Bearer {}", grant.access_token.expose());
        let mut authorization = HeaderValue::try_from(text).map_err(|_| {
            Cause::new(Class::Protocol, "the token holds characters that no header may hold", "")
        })?;
        authorization.set_sensitive(true);
        let early = 1.0 - fastrand::f64() / 10.0; // a fleet shall not refresh in the same second
        let token = Self {
            serial: fastrand::u64(..),
            authorization,
            asked_at: grant.asked_at,
            refresh_at: grant.asked_at + refresh_after(grant).mul_f64(early),
            expires_at: grant.asked_at + grant.lifetime,
        };
        if !token.is_alive() {
            let meaning = "the token is already expired when granted";
            let remedy = "see that the clocks of this machine and of the endpoint are right";
            return Err(Cause::new(Class::Protocol, meaning, remedy));
        }
        Ok(token)
    }

    /// `Bearer ...`, made once per token and marked sensitive, so that `Debug` does not show it.
    pub fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }

    /// How long it still serves.
    pub fn left(&self) -> Duration {
        self.expires_at.saturating_duration_since(Instant::now())
    }

    /// How long ago it was asked for.
    pub(super) fn age(&self) -> Duration {
        self.asked_at.elapsed()
    }

    /// From its request to its end.
    pub(super) fn life(&self) -> Duration {
        self.expires_at.saturating_duration_since(self.asked_at)
    }

    pub(super) fn is_alive(&self) -> bool {
        Instant::now() < self.expires_at
    }

    /// Whether it is old enough to be renewed.
    pub(super) fn is_old(&self) -> bool {
        Instant::now() >= self.refresh_at
    }

    /// How long until it should be renewed.
    pub(super) fn fresh_for(&self) -> Duration {
        self.refresh_at.saturating_duration_since(Instant::now())
    }

    pub(super) fn outlives(&self, other: &Self) -> bool {
        self.expires_at > other.expires_at
    }

    /// Whether both are copies of one token that was issued.
    pub fn is_same(&self, other: &Self) -> bool {
        self.serial == other.serial
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    /// A copy that shares nothing with the original, not even the header's bytes.
    pub(super) fn copy(&self) -> Self {
        let bytes = HeaderValue::from_bytes(self.authorization.as_bytes());
        let mut authorization = bytes.unwrap_or_else(|_| self.authorization.clone());
        authorization.set_sensitive(true);
        Self { authorization, ..*self }
    }

    /// A copy for an identity with another proof, which is to have a token of its own at once.
    pub(super) fn bequeathed(&self) -> Self {
        Self { refresh_at: Instant::now(), ..self.copy() }
    }
}

/// When a token is old enough for a refresh: when the server says so; at half its life if that is
/// long (MSAL's rule from two hours on); else five minutes before its end, or at half time.
pub(super) fn refresh_after(grant: &Grant) -> Duration {
    const MARGIN: Duration = Duration::from_secs(300);
    const LONG: Duration = Duration::from_secs(7200);
    let life = grant.lifetime;
    match grant.refresh_in {
        Some(wish) if wish < life => wish,
        _ if life >= LONG => life / 2,
        _ => life.saturating_sub(MARGIN).max(life / 2),
    }
}
