//! The attempts of a session: what is done ahead of each, and after it went wrong.
//!
//! After a failure a request goes on to the next target or, when Azure refuses a token, is sent
//! once more with a fresh one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use tokio::time::Instant;

use super::session::{Refusal, Session};
use super::targets::Target;
use crate::azure::{self, Token};
use crate::guard::Named;
use crate::llm::{self, RouteType};
use crate::pdk::{Attempts, Exchange, Loss, Lost, Next};
use crate::plugin::{Outcome, Step};

/// The longest a request waits for a token; a living token costs no wait.
const TOKEN_WAIT_MAX: Duration = Duration::from_secs(20);

impl Attempts for Session {
    fn before<'a>(&'a self, ex: &'a Exchange, n: u32) -> Step<'a> {
        self.progress.borrow_mut().replayable = ex.request.body_is_replayable();
        if n > 1
            && let Err(refusal) = self.move_on(ex)
        {
            return Step::Done(refusal.answer(ex));
        }
        if self.is_astray(ex) {
            let fault = anyhow!(
                "a plugin has changed the upstream to {}; the credential of the target goes to \
                 hosts of the configuration and of Azure only",
                ex.service.host()
            );
            return Step::Done(Refusal::Fault(fault).answer(ex));
        }
        if self.has_signed(ex) { Step::DONE } else { Step::wait(self.wait_for_token(ex)) }
    }

    fn answered<'a>(
        &'a self,
        ex: &'a Exchange,
        _n: u32,
        status: StatusCode,
        _headers: &'a HeaderMap,
    ) -> Next {
        if status == StatusCode::UNAUTHORIZED && self.may_replay() {
            return Next::Again;
        }
        let identity = self.target().and_then(|target| target.identity.as_ref());
        if let Some(identity) = identity.filter(|_| status.is_success() && self.has_sent_token()) {
            identity.accepted();
        }
        let Some(index) = self.asked().map(|asked| asked.index) else { return Next::Accept };
        // Kong's AI plugins write a reply that they have checked themselves.
        let is_ours = self.target().is_some_and(|t| t.plan.route_type() != RouteType::Preserve);
        ex.response.body_is_final.set(is_ours && status == StatusCode::OK);
        if !self.setup.failover.covers_status(status) {
            self.setup.targets.succeed(index);
            return Next::Accept;
        }
        // Kong: these two say something of the request, not of the target's health.
        if !matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            self.setup.targets.fail(index);
        }
        let again = self.has_untried() && self.may_repeat(ex);
        if again { self.once_more() } else { Next::Accept }
    }

    fn failed(&self, ex: &Exchange, _n: u32, lost: Lost) -> Next {
        self.after_loss(ex, lost)
    }

    /// What Kong's AI plugins make of a refused connection.
    fn refused_status(&self) -> StatusCode {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

impl Session {
    /// Whether a plugin behind us has sent the request elsewhere, and our credential with it.
    /// Plugins may name hosts of Azure; any other host is the operator's to name.
    fn is_astray(&self, ex: &Exchange) -> bool {
        ex.service.named() == Named::Plugin
            && self.target().is_some_and(Target::authenticates)
            && !azure::is_azures_own(&ex.service.host())
    }

    /// Puts the token on the request, if there is one or none is needed.
    fn has_signed(&self, ex: &Exchange) -> bool {
        let Some(target) = self.target() else { return true };
        let Some(identity) = &target.identity else { return true };
        let keeps_theirs = target.allow_override
            && self.client.get().is_some_and(|client| client.has(&AUTHORIZATION));
        if keeps_theirs {
            return true;
        }
        let token = identity.current();
        token.is_some_and(|token| self.sign_with(ex, token))
    }

    fn sign_with(&self, ex: &Exchange, token: Arc<Token>) -> bool {
        ex.request.set_header(AUTHORIZATION, token.authorization().clone());
        self.progress.borrow_mut().token = Some(token);
        true
    }

    /// Waits for a token; a target that gets none has failed, and another one may do.
    async fn wait_for_token(&self, ex: &Exchange) -> Outcome {
        let wait = Duration::from_millis(ex.service.limits.get().connect_ms).min(TOKEN_WAIT_MAX);
        let deadline = Instant::now() + wait;
        while !self.has_signed(ex) {
            let identity = self.target().and_then(|target| target.identity.clone());
            let Some(identity) = identity else { break };
            match identity.wait(deadline).await {
                Ok(token) => drop(self.sign_with(ex, token)),
                Err(failure) => {
                    let line = match identity.is_news(&failure) {
                        true => failure.to_string(),
                        false => failure.reminder(),
                    };
                    tracing::error!(request_id = %ex.id, fault = "azure", "{line}");
                    let lost = Lost { how: Loss::NoAddress, unsent: true };
                    if self.after_loss(ex, lost) == Next::Accept {
                        return Refusal::Llm(llm::Error::NoIdentity).answer(ex);
                    }
                    if let Err(refusal) = self.move_on(ex) {
                        return refusal.answer(ex);
                    }
                    continue;
                }
            }
            break;
        }
        Ok(())
    }

    /// What to do after a target failed without an answer.
    fn after_loss(&self, ex: &Exchange, lost: Lost) -> Next {
        let Some(index) = self.asked().map(|asked| asked.index) else { return Next::Accept };
        self.setup.targets.fail(index);
        // Asking the same target for its address or for its token again would only cost time.
        let useful = lost.how != Loss::NoAddress || self.has_untried();
        let listed = self.setup.failover.covers_loss(lost.how);
        if !useful || !listed || !(lost.unsent || self.may_repeat(ex)) {
            return Next::Accept;
        }
        self.once_more()
    }

    fn has_untried(&self) -> bool {
        let Some(client) = self.client.get() else { return false };
        self.setup.targets.has_untried(&client.candidates, &self.progress.borrow().tried)
    }

    /// nginx' rule: what the upstream may have acted on is repeated only if it does not matter.
    fn may_repeat(&self, ex: &Exchange) -> bool {
        let is_idempotent =
            !matches!(ex.request.method, Method::POST | Method::PATCH | Method::CONNECT);
        is_idempotent || self.setup.failover.non_idempotent
    }

    fn once_more(&self) -> Next {
        let mut progress = self.progress.borrow_mut();
        if progress.retries_left == 0 || !progress.replayable {
            return Next::Accept;
        }
        progress.retries_left -= 1;
        progress.elsewhere = true;
        Next::Again
    }

    /// Whether a refused token is worth a second try: when another is to be had, once.
    fn may_replay(&self) -> bool {
        let Some(identity) = self.target().and_then(|target| target.identity.as_ref()) else {
            return false;
        };
        let mut progress = self.progress.borrow_mut();
        let Some(token) = progress.token.clone() else { return false };
        let is_replaceable = identity.invalidate(&token);
        is_replaceable && progress.replayable && !std::mem::replace(&mut progress.replayed, true)
    }
}
