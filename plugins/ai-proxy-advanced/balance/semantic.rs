//! Where a prompt fits best: descriptions of targets are compared with what users said last.
//!
//! What descriptions mean is asked of the embedding model when the configuration loads, once for
//! all workers, and kept in the vector store, so that other gateways, and this one after a restart,
//! need not ask again. Requests are compared in memory: only their own prompt is asked about.

use std::cell::Cell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::Idle;
use crate::llm::config::{self, AiProxyAdvanced};
use crate::pdk::Exchange;
use crate::plugins::Context;
use crate::plugins::embeddings::{Embeddings, shortened};
use crate::vectors::{self, Item, Metric, Slot, Store};

/// The description of a target that takes what fits nowhere else (Kong).
const CATCHALL: &str = "CATCHALL";

/// How long a request waits for the first try to learn the descriptions.
const START: Duration = Duration::from_secs(3);

/// Between two tries to learn them, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long descriptions stay in the store. Whoever needs them longer has them in memory.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The scope that they are in; nobody searches it.
const SCOPE: &str = "d";

/// `balancer.algorithm: semantic`
pub(in super::super) struct Semantic(Rc<Inner>);

struct Inner {
    embeddings: Embeddings,
    store: Store,
    /// What fits has this distance at most.
    threshold: f64,
    descriptions: Box<[Description]>,
    /// For each target the position of its description; `None` takes what fits nowhere else.
    targets: Box<[Option<usize>]>,
    /// The first try to learn the descriptions is over.
    has_tried: Cell<bool>,
    tried: Notify,
}

/// A description that one or more targets have.
struct Description {
    text: String,
    key: String,
    slot: Slot,
}

/// What a prompt says of the targets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// For each target how good it is; greater is better.
    Tiers(Box<[u32]>),
    /// Nothing: all are alike.
    Unknown,
    /// None of them is near enough.
    Nobody,
}

impl Semantic {
    /// The algorithm, if it is asked for; or all that stands against it.
    pub(in super::super) fn of(
        context: &Context<'_>,
        config: &AiProxyAdvanced,
    ) -> Result<Option<Self>, Vec<String>> {
        let algorithm = config.balancer.as_ref().and_then(|balancer| balancer.algorithm);
        let (embeddings, vectordb) = (config.embeddings.as_ref(), config.vectordb.as_ref());
        if algorithm != Some(config::Algorithm::Semantic) {
            let set = [("embeddings", embeddings.is_some()), ("vectordb", vectordb.is_some())];
            for (field, _) in set.iter().filter(|(_, is_set)| *is_set) {
                let only = "has an effect with balancer.algorithm 'semantic' only";
                context.warn(&format!("config.{field}: {only}"));
            }
            return Ok(None);
        }
        let mut lines = lacking(config);
        let (Some(embeddings), Some(vectordb)) = (embeddings, vectordb) else { return Err(lines) };
        let dimensions = usize::try_from(vectordb.dimensions).unwrap_or(0);
        let space = "descriptions";
        let (env, vectordb) = (&context.snapshot.env, vectordb.clone());
        let store = Store::new(context.shared, env, vectordb, "config.vectordb", space);
        let model =
            Embeddings::new(context, "config.embeddings", embeddings.clone(), dimensions.max(1));
        let (store, embeddings) = match (store, model) {
            (Ok(store), Ok(embeddings)) if lines.is_empty() => (store, embeddings),
            (store, model) => {
                lines.extend(store.err().into_iter().chain(model.err()).flatten());
                return Err(lines);
            }
        };
        let inner = Rc::new(Inner::new(context, config, embeddings, store));
        if context.findings.is_none() {
            // The loader's trial asks nobody.
            inner.start();
        }
        Ok(Some(Self(inner)))
    }

    /// How well targets fit what users said last, among those that a request may go to.
    pub(super) async fn fit(&self, ex: &Exchange, candidates: &[usize], said: &str) -> Fit {
        let inner = &self.0;
        if !inner.has_tried.get() {
            let tried = inner.tried.notified();
            if !inner.has_tried.get() {
                let began = std::time::Instant::now();
                let _ = tokio::time::timeout(START, tried).await;
                ex.times.waited_since(began);
            }
        }
        match inner.distances(ex, said).await {
            Some(distances) => {
                let fit = ranked(&distances, inner.threshold, candidates);
                if fit == Fit::Nobody {
                    let threshold = inner.threshold;
                    tracing::warn!(
                        request_id = %ex.id,
                        fault = "gateway",
                        "no target can be found under threshold {threshold}"
                    );
                }
                fit
            }
            None => inner.without_distances(candidates),
        }
    }
}

/// What the algorithm needs and the configuration lacks.
fn lacking(config: &AiProxyAdvanced) -> Vec<String> {
    let mut lines = Vec::new();
    if config.embeddings.is_none() || config.vectordb.is_none() {
        // The schema says so, too.
        lines.push("config: must set 'embeddings' and 'vectordb'".to_owned());
    }
    for (index, target) in config.targets.iter().enumerate() {
        if target.description.as_deref().is_none_or(|text| text.trim().is_empty()) {
            lines.push(format!(
                "config.targets[{index}].description: balancer.algorithm 'semantic' needs one; \
                 say what the target is for, or CATCHALL for what fits nowhere else"
            ));
        }
    }
    lines
}

impl Inner {
    fn new(
        context: &Context<'_>,
        config: &AiProxyAdvanced,
        embeddings: Embeddings,
        store: Store,
    ) -> Self {
        let mut descriptions: Vec<Description> = Vec::new();
        let targets = config.targets.iter().map(|target| {
            let text = target.description.as_deref().unwrap_or_default().trim();
            if text == CATCHALL {
                return None;
            }
            let known = descriptions.iter().position(|known| known.text == text);
            Some(known.unwrap_or_else(|| {
                let mut digest = Sha256::new();
                digest.update(embeddings.digest());
                digest.update(text);
                let digest: [u8; 32] = digest.finalize().into();
                let key = digest.iter().fold(String::with_capacity(64), |mut key, byte| {
                    let _ = write!(key, "{byte:02x}");
                    key
                });
                let slot = context.shared.vectors.slot(digest);
                descriptions.push(Description { text: text.to_owned(), key, slot });
                descriptions.len() - 1
            }))
        });
        let targets = targets.collect();
        Self {
            threshold: store.threshold().unwrap_or(f64::INFINITY),
            descriptions: descriptions.into(),
            targets,
            has_tried: Cell::default(),
            tried: Notify::new(),
            embeddings,
            store,
        }
    }

    /// Learns the descriptions in the background, as long as the configuration is in use.
    fn start(self: &Rc<Self>) {
        if self.descriptions.iter().all(|description| description.slot.initialized()) {
            self.has_tried.set(true);
            return;
        }
        let weak = Rc::downgrade(self);
        tokio::task::spawn_local(async move {
            let (mut pause, longest) = PAUSES;
            while let Some(inner) = weak.upgrade() {
                let learnt = inner.learn().await;
                inner.has_tried.set(true);
                inner.tried.notify_waiters();
                let Err(why) = learnt else { return };
                tracing::error!(
                    plugin = "ai-proxy-advanced",
                    fault = "upstream",
                    "the embedding model cannot be asked about the descriptions of targets: \
                     {why}; until then prompts decide nothing; trying again in {} s",
                    pause.as_secs()
                );
                drop(inner);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(longest);
            }
        });
    }

    async fn learn(&self) -> Result<(), String> {
        for description in &self.descriptions {
            description.slot.get_or_try_init(|| self.vector_of(description)).await?;
        }
        Ok(())
    }

    /// From the store, else from the model. A store that cannot be asked is no obstacle.
    async fn vector_of(&self, description: &Description) -> Result<Vec<f32>, String> {
        let found = self.store.find(&description.key).await;
        let is_down = found.is_err();
        match found {
            Ok(Some(bytes)) => {
                let vector = vectors::vector(&bytes);
                if vector.len() == self.store.dimensions() {
                    return Ok(vector);
                }
            }
            Ok(None) => {}
            Err(failure) => self.complain(&failure),
        }
        let vector = self.embeddings.of(None, shortened(&description.text)).await?;
        let value = vectors::bytes(&vector);
        let (key, ttl) = (&*description.key, KEPT);
        let item = Item { scope: SCOPE, key, vector: &vector, value: &value, ttl };
        if !is_down && let Err(failure) = self.store.keep(&item).await {
            self.complain(&failure);
        }
        Ok(vector)
    }

    fn complain(&self, failure: &vectors::Failure) {
        tracing::warn!(
            plugin = "ai-proxy-advanced",
            vectordb = self.store.place(),
            "{failure}; descriptions are not kept there"
        );
    }

    /// For each target how far it is; `None` for one that takes what fits nowhere else. Nothing at
    /// all when the model cannot be asked, or there is nothing to ask about.
    async fn distances(&self, ex: &Exchange, said: &str) -> Option<Vec<Option<f64>>> {
        if said.is_empty() || self.descriptions.iter().any(|one| !one.slot.initialized()) {
            return None;
        }
        let asked = self.embeddings.of(Some(ex), shortened(said)).await;
        let prompt = asked.map_err(|why| {
            tracing::error!(
                request_id = %ex.id,
                plugin = "ai-proxy-advanced",
                fault = "upstream",
                "the embedding model cannot be asked about the prompt: {why}"
            );
        });
        let prompt = prompt.ok()?;
        let metric: Metric = self.store.metric();
        let far = self.descriptions.iter().map(|description| {
            let vector = description.slot.get().map_or(&[][..], Vec::as_slice);
            metric.distance(&prompt, vector)
        });
        let far: Vec<f64> = far.collect();
        let of = |at: &Option<usize>| at.map(|at| far.get(at).copied().unwrap_or(f64::INFINITY));
        Some(self.targets.iter().map(of).collect())
    }

    /// Without a word on the prompt it is for those that take what fits nowhere else.
    fn without_distances(&self, candidates: &[usize]) -> Fit {
        let catches = |index: &usize| self.targets.get(*index).is_some_and(Option::is_none);
        if !candidates.iter().any(catches) {
            return Fit::Unknown;
        }
        Fit::Tiers((0..self.targets.len()).map(|index| u32::from(catches(&index))).collect())
    }
}

/// The order of the targets: those that are near enough by distance, then those that take what fits
/// nowhere else, then the others by distance. Targets with the same description are alike.
fn ranked(distances: &[Option<f64>], threshold: f64, candidates: &[usize]) -> Fit {
    let rank = |index: usize| match distances.get(index).copied().flatten() {
        Some(distance) if distance <= threshold => (0, distance),
        None => (1, 0.0),
        Some(distance) => (2, distance),
    };
    if !candidates.iter().any(|index| rank(*index).0 < 2) {
        return Fit::Nobody;
    }
    let mut ranks: Vec<(u8, f64)> = (0..distances.len()).map(rank).collect();
    ranks.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    ranks.dedup();
    let tier = |index: usize| {
        let at = ranks.iter().position(|known| *known == rank(index)).unwrap_or(ranks.len());
        u32::try_from(ranks.len() - at).unwrap_or(0)
    };
    Fit::Tiers((0..distances.len()).map(tier).collect())
}

impl Fit {
    /// For each target how good it is, if that is known and there is one.
    pub(super) fn tiers(self) -> Result<Option<Box<[u32]>>, Idle> {
        match self {
            Self::Tiers(tiers) => Ok(Some(tiers)),
            Self::Unknown => Ok(None),
            Self::Nobody => Err(Idle::Far),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers(distances: &[Option<f64>], candidates: &[usize]) -> Option<Vec<u32>> {
        match ranked(distances, 0.5, candidates) {
            Fit::Tiers(tiers) => Some(tiers.into()),
            _ => None,
        }
    }

    #[test]
    fn the_nearest_come_first_and_who_catches_all_before_those_too_far() {
        let far = [Some(0.4), Some(0.1), None, Some(0.9), Some(0.1), Some(0.6)];
        assert_eq!(tiers(&far, &[0, 1, 2, 3, 4, 5]), Some(vec![4, 5, 3, 1, 5, 2]));
    }

    #[test]
    fn without_anybody_near_somebody_must_catch_it() {
        assert_eq!(tiers(&[Some(0.6), None], &[0, 1]), Some(vec![1, 2]));
        assert_eq!(tiers(&[Some(0.6), None], &[0]), None, "that one is not for this request");
        assert_eq!(tiers(&[Some(0.6), Some(f64::INFINITY)], &[0, 1]), None);
        assert_eq!(tiers(&[Some(0.5)], &[0]), Some(vec![1]));
    }
}
