//! What a target keeps stays with it: a request that names the id of something goes where that was
//! made.
//!
//! Ids are learnt from replies and remembered for the process (`standings::Whereabouts`). Plugins
//! with one target, and those for chats, have nothing to do with it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::inflate::Inflate;
use super::session::Session;
use super::setup::Setup;
use super::targets::Indexes;
use crate::llm::splice::Object;
use crate::llm::sse::Event;
use crate::llm::stored::{self, Finder};
use crate::pdk::Exchange;
use crate::shared::Shared;
use crate::standings::Resource;

/// Leaves a request that names a known id the targets that have what it means. Another one could
/// only say that there is no such thing, so there is no fail-over to them either.
pub(super) fn keep_to_owner(
    setup: &Setup,
    ex: &Exchange,
    body: Option<&Object<Bytes>>,
    candidates: &mut Indexes,
) {
    if !setup.keeps || candidates.len() < 2 {
        return;
    }
    let path = ex.request.raw_path();
    let target = |index: usize| setup.targets.at(index);
    let may_name = |index: &usize| {
        target(*index).is_some_and(|one| stored::is_kept(one.plan.route_type(), path))
    };
    if !candidates.iter().any(may_name) {
        return;
    }
    let whereabouts = &setup.shared.standings.whereabouts;
    for resource in stored::named(path, body).filter_map(|id| whereabouts.find(&id)) {
        let has_it = |index: &usize| target(*index).and_then(|one| one.resource) == Some(resource);
        if candidates.iter().any(has_it) {
            candidates.retain(|index| has_it(index));
            return;
        }
    }
}

/// Learns the ids that a reply tells, while it passes.
pub(super) struct Learner {
    shared: Arc<Shared>,
    resource: Resource,
    finder: Finder,
    /// The reply passes as gzip.
    inflate: Option<Inflate>,
}

impl Learner {
    /// What there is to learn from the reply to a request.
    pub(super) fn new(session: &Session, ex: &Exchange, is_gzip: bool) -> Option<Self> {
        let is_told = matches!(ex.response.status(), StatusCode::OK | StatusCode::CREATED);
        if !session.setup.keeps || !is_told {
            return None;
        }
        let (target, path) = (session.target()?, ex.request.raw_path());
        let route_type = target.plan.route_type();
        if !stored::is_kept(route_type, path) {
            return None;
        }
        // Who wants nothing stored gets an id of nothing.
        let body = session.client.get().and_then(|client| client.words().object());
        if body.and_then(|body| body.get("store")) == Some(b"false") {
            return None;
        }
        let creates = ex.request.method == Method::POST;
        Some(Self {
            resource: target.resource?,
            finder: Finder::new(route_type, creates, path)?,
            shared: session.setup.shared.clone(),
            inflate: is_gzip.then(Inflate::new),
        })
    }

    /// Takes a part of a JSON reply.
    pub(super) fn see(&mut self, read: &Bytes) {
        if self.finder.is_done() {
            return;
        }
        let (whereabouts, resource) = (&self.shared.standings.whereabouts, self.resource);
        let learn = |id: &str| whereabouts.learn(id, resource);
        match &mut self.inflate {
            None => self.finder.see(read, learn),
            // What is no gzip tells nothing; the client will see for itself.
            Some(inflate) => {
                if let Ok(read) = inflate.push(read) {
                    self.finder.see(&read, learn);
                }
            }
        }
    }

    /// Takes an event of a stream.
    pub(super) fn see_event(&mut self, event: Event<'_>) {
        let (whereabouts, resource) = (&self.shared.standings.whereabouts, self.resource);
        self.finder.see_event(event, |id| whereabouts.learn(id, resource));
    }
}
