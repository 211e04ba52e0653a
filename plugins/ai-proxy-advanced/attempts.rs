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

use super::balance::Idle;
use super::refusal;
use super::session::{Refusal, Session};
use super::targets::Target;
use super::trail::Ending;
use crate::azure::{self, Token};
use crate::guard::Named;
use crate::llm;
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
            return Step::Done(refusal.answer(ex, self.setup.messages));
        }
        self.set_out();
        if self.is_astray(ex) {
            let fault = anyhow!(
                "a plugin has changed the upstream to {}; the credential of the target goes to \
                 hosts of the configuration and of Azure only",
                ex.service.host()
            );
            return Step::Done(Refusal::Fault(fault).answer(ex, self.setup.messages));
        }
        if self.has_signed(ex) { Step::DONE } else { Step::wait(self.wait_for_token(ex)) }
    }

    fn answered<'a>(
        &'a self,
        ex: &'a Exchange,
        _n: u32,
        status: StatusCode,
        headers: &'a HeaderMap,
    ) -> Next {
        let took = self.arrive(ex, Ending::Answered(status));
        if status == StatusCode::UNAUTHORIZED && self.may_replay() {
            return Next::Again;
        }
        if self.may_ask_less(ex, status) {
            return Next::Again;
        }
        let identity = self.target().and_then(|target| target.identity.as_ref());
        if let Some(identity) = identity.filter(|_| status.is_success() && self.has_sent_token()) {
            identity.accepted();
        }
        let Some(index) = self.asked().map(|asked| asked.index) else { return Next::Accept };
        // Kong's AI plugins write a reply that they have checked themselves.
        let is_ours = self.asked().is_some_and(|asked| asked.is_checked);
        ex.response.body_is_final.set(is_ours && status == StatusCode::OK);
        let targets = &self.setup.targets;
        if self.asks_for_patience(ex, index, status, headers) {
            return self.after_patience(ex);
        }
        if !self.setup.failover.covers_status(status) {
            targets.succeed(index);
            return Next::Accept;
        }
        // Kong: these two say something of the request, not of the target's health.
        if !matches!(status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
            targets.fail(index, took);
        }
        let again = self.has_untried(ex) && self.may_repeat(ex);
        if again { self.once_more() } else { Next::Accept }
    }

    fn failed(&self, ex: &Exchange, _n: u32, lost: Lost) -> Next {
        self.after_loss(ex, lost, Ending::Lost(lost.how))
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
                    if self.after_loss(ex, lost, Ending::NoToken) == Next::Accept {
                        return Refusal::Llm(llm::Error::NoIdentity)
                            .answer(ex, self.setup.messages);
                    }
                    if let Err(refusal) = self.move_on(ex) {
                        return refusal.answer(ex, self.setup.messages);
                    }
                    self.set_out();
                    continue;
                }
            }
            break;
        }
        Ok(())
    }

    /// An attempt begins.
    fn set_out(&self) {
        let mut progress = self.progress.borrow_mut();
        if let Some(index) = progress.tried.last().copied() {
            progress.trail.begin(index);
        }
    }

    /// An attempt is over. Says how many milliseconds it took.
    fn arrive(&self, ex: &Exchange, ending: Ending) -> u64 {
        let was_sent = !matches!(ending, Ending::NoToken | Ending::Lost(Loss::NoAddress));
        let sent = ex.times.sent.get().filter(|_| was_sent);
        let ms = sent.map_or(0, |sent| u64::try_from(sent.elapsed().as_millis()).unwrap_or(0));
        self.progress.borrow_mut().trail.end(ending, ms);
        ms
    }

    /// What to do after a target failed without an answer.
    fn after_loss(&self, ex: &Exchange, lost: Lost, ending: Ending) -> Next {
        let took = self.arrive(ex, ending);
        let Some(index) = self.asked().map(|asked| asked.index) else { return Next::Accept };
        let targets = &self.setup.targets;
        targets.fail(index, took);
        let listed = self.setup.failover.covers_loss(lost.how);
        if !listed || !(lost.unsent || self.may_repeat(ex)) {
            return Next::Accept;
        }
        let useful = match self.look_ahead(ex) {
            // Asking the same target for its address or for its token again would only cost time.
            Ok(is_fresh) => is_fresh || lost.how != Loss::NoAddress,
            Err(Idle::Resting) => lost.how != Loss::NoAddress,
            Err(Idle::Cooling(_)) => return self.answer_in_place(),
            Err(Idle::Tried | Idle::Far) => false,
        };
        if useful { self.once_more() } else { Next::Accept }
    }

    /// Whether an answer asks to leave the target alone; then it is.
    fn asks_for_patience(
        &self,
        ex: &Exchange,
        index: usize,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> bool {
        let Some(client) = self.client.get().filter(|_| !status.is_success()) else {
            return false;
        };
        self.with_ask(ex, client, |ask| self.setup.targets.cool(index, ask, status, headers))
    }

    /// Such a request was not processed, so it goes on at once, whatever its method. When all
    /// targets have asked for patience the client is told when the first of them will be back,
    /// which is not always the last.
    fn after_patience(&self, ex: &Exchange) -> Next {
        match self.look_ahead(ex) {
            Ok(true) => self.once_more(),
            Err(Idle::Cooling(_)) => self.answer_in_place(),
            _ => Next::Accept,
        }
    }

    /// Drops what came, so that the next step answers the client.
    fn answer_in_place(&self) -> Next {
        let mut progress = self.progress.borrow_mut();
        if !progress.replayable {
            return Next::Accept;
        }
        progress.elsewhere = true;
        Next::Again
    }

    fn look_ahead(&self, ex: &Exchange) -> Result<bool, Idle> {
        let client = self.client.get().ok_or(Idle::Tried)?;
        self.with_ask(ex, client, |ask| self.setup.targets.look_ahead(ask))
    }

    fn has_untried(&self, ex: &Exchange) -> bool {
        self.look_ahead(ex) == Ok(true)
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

    /// Whether a refusal may be about what the gateway has asked a stream for in its client's
    /// place: a target that has never taken it gets the request once more without. What comes of
    /// it is remembered.
    fn may_ask_less(&self, ex: &Exchange, status: StatusCode) -> bool {
        let Some((asked, target)) = self.asked().zip(self.target()) else { return false };
        let standing = &target.standing;
        let mut progress = self.progress.borrow_mut();
        if status.is_success() && asked.stream {
            if asked.hides_usage {
                standing.learn_tokens(true);
            } else if progress.unasked == Some(asked.index) && standing.learn_tokens(false) {
                refusal::tell_of_usage(ex);
            }
            return false;
        }
        let may = status == StatusCode::BAD_REQUEST
            && asked.hides_usage
            && !standing.tells_tokens()
            && progress.replayable
            && progress.unasked.is_none();
        if may {
            progress.unasked = Some(asked.index);
        }
        may
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
