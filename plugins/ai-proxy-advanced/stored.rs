//! What a target keeps stays with it: a request that names the id of something goes where that was
//! made.
//!
//! Ids are learnt from replies and remembered for the process (`standings::Whereabouts`). Plugins
//! with one target have nothing to do with it; chats keep nothing, and may name files.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::inflate::Inflate;
use super::session::Session;
use super::setup::Setup;
use super::targets::Indexes;
use crate::llm::RouteType;
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
    let whereabouts = &setup.shared.standings.whereabouts;
    if !setup.keeps || candidates.len() < 2 || whereabouts.is_empty() {
        return;
    }
    let path = ex.request.raw_path();
    let target = |index: usize| setup.targets.at(index);
    let may_name = |index: &usize| {
        let route_type = target(*index).map(|one| one.plan.route_type());
        route_type.is_some_and(|one| one == RouteType::Chat || stored::is_kept(one, path))
    };
    if !candidates.iter().any(may_name) {
        return;
    }
    let has = |index: usize, owner| target(index).and_then(|one| one.resource) == Some(owner);
    let known = stored::named(path, body).filter_map(|id| Some((whereabouts.find(&id)?, id)));
    let mut known = known.filter(|(owner, _)| candidates.iter().any(|one| has(*one, *owner)));
    let Some((owner, id)) = known.next() else { return };
    if let Some((_, other)) = known.find(|(other, _)| *other != owner) {
        tracing::warn!(
            request_id = %ex.id,
            "{id:?} and {other:?} are with different targets: the request goes to that of the first"
        );
    }
    drop(known);
    candidates.retain(|index| has(*index, owner));
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
