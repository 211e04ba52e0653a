//! Sends chats and completions to models, Azure OpenAI above all.
//!
//! Two plugins are made of this: `ai-proxy-advanced` with several targets, and `ai-proxy`, which
//! has one and takes its timeouts from the Service. `setup` compiles the configuration; a request
//! then opens a `session`, which drives the attempts; `reply` watches what comes back and `report`
//! tells about it.

mod acls;
mod attempts;
mod balance;
mod client;
mod failover;
mod inflate;
mod inventory;
mod messages;
mod names;
mod realtime;
mod refusal;
mod reply;
mod report;
mod session;
mod setup;
mod stored;
mod stream;
mod targets;
mod tokens;
mod trail;

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::Context;
use crate::llm::usage::Usage;
use crate::llm::{RouteType, config};
use crate::pdk::{Chunk, Exchange};
use crate::plugin::{Outcome, Phases, Plugin, Step};
use balance::Semantic;
use session::Session;

pub(super) use inflate::{inflate, is_gzip};
pub(super) use inventory::describe;
pub(super) use names::FieldNames;
pub(super) use reply::is_event_stream;
pub(super) use setup::{Instance, Setup, Wanted};
pub(super) use targets::Target;

/// The model that a request was prepared for, if one of these plugins has done so.
pub(super) fn model_in_use(ex: &Exchange) -> Option<Arc<str>> {
    driving(ex)?.asked()?.model.clone()
}

/// What tells the replies to a chat in OpenAI's format from those of another target: provider,
/// model, Azure's names and address. `None`: that is not what is asked.
pub(super) fn chat_in_use(ex: &Exchange) -> Option<String> {
    let session = driving(ex)?;
    let (plan, asked) = (&session.target()?.plan, session.asked()?);
    if session.setup.messages || plan.route_type() != RouteType::Chat {
        return None;
    }
    let (call, provider) = (&ex.service, plan.provider().as_str());
    let (scheme, host, port) = (call.scheme().name(), call.host(), call.port());
    let names = asked.azure.as_deref().map(|names| {
        [&names.azure_instance_id, &names.azure_deployment_id, &names.azure_api_version]
    });
    let (path, model) = (call.path(), asked.model.as_deref());
    Some(format!("{provider}\n{model:?}\n{names:?}\n{scheme}://{host}:{port}{path}"))
}

/// Whether the tokens of a stream are told because one of these plugins has asked, not its client.
pub(super) fn hides_usage(ex: &Exchange) -> bool {
    driving(ex).and_then(|session| session.asked()).is_some_and(|asked| asked.hides_usage)
}

/// The tokens of a stream that one of these plugins has watched to its end, whoever has asked for
/// them; an estimate where the model has not told them.
pub(super) fn tokens_of_stream(ex: &Exchange) -> Option<Usage> {
    let session = driving(ex)?;
    let reply = session.reply.borrow();
    reply.tokens_of_stream(&session)
}

/// A body for logs, without the key that one of these plugins has put into it.
pub(super) fn without_key(ex: &Exchange, body: Bytes) -> Bytes {
    let session = driving(ex);
    let target = session.as_ref().and_then(|session| session.target());
    target.and_then(|target| target.plan.redacted_body(&body)).unwrap_or(body)
}

/// The session of this exchange, whichever instance drives it.
fn driving(ex: &Exchange) -> Option<Rc<Session>> {
    let attempts: Rc<dyn Any> = ex.service.attempts()?;
    attempts.downcast::<Session>().ok()
}

/// One configured instance of either plugin.
struct Proxy {
    setup: Rc<Setup>,
}

/// `ai-proxy-advanced`.
pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config = context.config::<config::AiProxyAdvanced>()?;
    let (semantic, refusals) = match Semantic::of(context, &config) {
        Ok(semantic) => (semantic, Vec::new()),
        Err(refusals) => (None, refusals),
    };
    let wanted = Wanted::from(config).semantic(semantic, refusals);
    make_from(context, wanted)
}

/// Either plugin, from what its configuration asks for.
pub(super) fn make_from(
    context: &Context<'_>,
    wanted: Wanted,
) -> Result<Box<dyn Plugin>, Vec<String>> {
    let (env, instance) = (&context.snapshot.env, Instance::of(context.entity));
    let mut setup = Setup::new(context.shared, env, instance, wanted)?;
    if let Some(state) = context.state {
        setup.targets.inherit(state);
    }
    for warning in &setup.warnings {
        context.warn(warning);
    }
    if let Some(findings) = context.findings {
        let place = if setup.is_advanced { "config.targets" } else { "config" };
        findings.targets.borrow_mut().extend(describe(context.entity, &setup, place));
    }
    Ok(Box::new(Proxy { setup: Rc::new(setup) }))
}

impl Plugin for Proxy {
    fn phases(&self) -> Phases {
        Phases::ACCESS
            .and(Phases::RESPONSE)
            .and(Phases::HEADER_FILTER)
            .and(Phases::BODY_FILTER)
            .and(Phases::LOG)
            .and(Phases::MODEL)
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(Session::open(&self.setup, ex))
    }

    fn buffers(&self, ex: &Exchange) -> bool {
        self.session(ex).is_some_and(|session| reply::is_checked(&session, ex))
    }

    fn response<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        if let Some(session) = self.session(ex) {
            reply::check(&session, ex);
        }
        Step::DONE
    }

    fn header_filter(&self, ex: &Exchange) -> Outcome {
        let session = self.session(ex);
        if let Some(session) = &session {
            reply::begin(session, ex);
            reply::drop_limits(session, ex);
            session.tell(ex);
        }
        // Without a session it was answered ahead of this plugin.
        if self.setup.messages && (session.is_some() || ex.service.attempts().is_none()) {
            messages::replace_others(ex);
        }
        Ok(())
    }

    fn body_filter(&self, ex: &Exchange, chunk: &mut Chunk) -> Outcome {
        self.session(ex).map_or(Ok(()), |session| reply::pass(&session, chunk))
    }

    fn log(&self, ex: &Exchange) {
        if let Some(session) = self.session(ex) {
            report::report(&session, ex);
        }
    }

    fn state(&self) -> Option<Rc<dyn Any>> {
        Some(self.setup.targets.state())
    }
}

impl Proxy {
    /// The session of this exchange, if this instance drives it: with two AI plugins on one Route
    /// the one that runs last does.
    fn session(&self, ex: &Exchange) -> Option<Rc<Session>> {
        let session = driving(ex)?;
        Rc::ptr_eq(&session.setup, &self.setup).then_some(session)
    }
}

#[cfg(test)]
mod tests;
