//! When a request goes on to another target, and how often: nginx' `proxy_next_upstream`.

use http::StatusCode;
use smallvec::SmallVec;

use crate::llm::config;
use crate::pdk::Loss;
use crate::pdk::service::Limits;

/// What makes a request go to another target, in the words of nginx' `proxy_next_upstream`.
pub(super) struct Failover {
    error: bool,
    timeout: bool,
    invalid_header: bool,
    /// Also requests that the upstream may have acted on: every POST.
    pub(super) non_idempotent: bool,
    statuses: SmallVec<[u16; 7]>,
}

impl Failover {
    /// Kong's default is `error` and `timeout`.
    pub(super) fn new(balancer: Option<&config::Balancer>, warnings: &mut Vec<String>) -> Self {
        let listed = balancer.and_then(|balancer| balancer.failover_criteria.as_deref());
        let has = |name| listed.is_some_and(|listed| listed.iter().any(|c| c == name));
        let status = |name: &String| name.strip_prefix("http_")?.parse().ok();
        let statuses: SmallVec<[u16; 7]> =
            listed.unwrap_or_default().iter().filter_map(status).collect();
        let non_idempotent = has("non_idempotent");
        let cooling = balancer.and_then(|balancer| balancer.cooling.as_ref());
        let cools = cooling.is_some_and(|cooling| cooling.enabled != Some(false));
        if !statuses.is_empty() && !non_idempotent && !cools {
            warnings.push(
                "config.balancer.failover_criteria: the http_ criteria do not apply to POST \
                 requests, which chats are, unless non_idempotent is listed too"
                    .to_owned(),
            );
        }
        Self {
            error: listed.is_none() || has("error"),
            timeout: listed.is_none() || has("timeout"),
            invalid_header: has("invalid_header"),
            non_idempotent,
            statuses,
        }
    }

    /// Whether a request that was lost like this goes on.
    pub(super) fn covers_loss(&self, how: Loss) -> bool {
        match how {
            Loss::NoAddress | Loss::Error => self.error,
            Loss::Timeout => self.timeout,
            Loss::InvalidHeader => self.invalid_header,
        }
    }

    /// Whether a request that was answered like this goes on.
    pub(super) fn covers_status(&self, status: StatusCode) -> bool {
        self.statuses.contains(&status.as_u16())
    }
}

/// Timeouts and retries of a balancer.
pub(super) fn limits(balancer: &config::Balancer) -> Limits {
    let default = Limits::default();
    Limits {
        connect_ms: balancer.connect_timeout.unwrap_or(default.connect_ms),
        write_ms: balancer.write_timeout.unwrap_or(default.write_ms),
        read_ms: balancer.read_timeout.unwrap_or(default.read_ms),
        retries: balancer.retries.unwrap_or(default.retries),
    }
}
