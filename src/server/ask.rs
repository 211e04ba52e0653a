//! Asks the upstream for a plugin that then answers the client by itself.

use std::any::Any;
use std::rc::Rc;
use std::time::Instant;

use super::serve::{reply_failure, way};
use super::worker::Worker;
use crate::pdk::{Answer, Asking, Entities, Exchange, Unanswered, Upstream};
use crate::proxy::{self, NoReply, headers};
use crate::respond::Failure;
use crate::runloop::Runloop;

impl Upstream for Worker {
    fn ask<'a>(&'a self, ex: &'a Exchange) -> Asking<'a> {
        Box::pin(async move {
            let answer = self.asked(ex).await;
            forget(ex);
            answer
        })
    }
}

impl Worker {
    async fn asked(&self, ex: &Exchange) -> Result<Answer, Unanswered> {
        let lost = |failure, unsent| Unanswered::Lost { failure, unsent };
        let entities: Rc<dyn Any> = match ex.entities.get() {
            Some(entities) => Rc::<dyn Entities>::clone(entities),
            None => return Err(lost(Failure::Unexpected, true)),
        };
        let Ok(runloop) = entities.downcast::<Runloop>() else {
            return Err(lost(Failure::Unexpected, true));
        };
        if ex.matched().is_some_and(|matched| matched.service.is_none()) {
            return Err(lost(Failure::NoService, true));
        }
        let reply = proxy::forward(&way(self, &runloop), ex).await;
        let (mut head, body) = match reply {
            Ok(reply) => reply.into_parts(),
            Err(NoReply::Answered) => return Err(Unanswered::Exited),
            Err(NoReply::Failed(failure)) => return Err(lost(failure, is_unsent(ex))),
        };
        headers::from_upstream(&mut head.headers);
        let settings = &self.shared.settings;
        let began = Instant::now();
        let whole = body.read_whole(settings.buffer_limit, &self.shared.budget).await;
        ex.times.waited_since(began);
        let body = whole.map_err(|error| {
            let (fault, failure) = reply_failure(&error);
            tracing::warn!(request_id = %ex.id, fault, "reply body: {error}");
            lost(failure, false)
        })?;
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// Whether the last attempt did not get through.
fn is_unsent(ex: &Exchange) -> bool {
    let tries = ex.service.tries.borrow();
    tries.last().is_none_or(|attempt| attempt.unsent)
}

/// The answer of a plugin has no upstream behind it, in headers and in the log record (Kong).
fn forget(ex: &Exchange) {
    ex.service.status.set(None);
    ex.service.tries.borrow_mut().clear();
    *ex.service.lease.borrow_mut() = None;
    ex.times.sent.set(None);
    ex.times.answered.set(None);
    ex.response.body_is_final.set(false);
}
