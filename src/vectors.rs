//! Stores of vectors: what a text means, kept with what belongs to it, and found again by a text
//! that means about the same.
//!
//! A store is Kong's `vectordb` record: a server, the number of dimensions, and how distances are
//! measured. In it each user has a space of its own, and in the space scopes that are searched one
//! at a time. Everything is kept for a time only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::OnceCell;

use self::pgvector::Pgvector;
use self::redis::Redis;
use crate::settings::Env;
use crate::shared::Shared;
use crate::{postgres, redis as servers};

mod pgvector;
mod redis;

/// How many vectors of a scope are compared where the server cannot do it well; those that would
/// be over first go first.
const COMPARED_MAX: usize = 1000;

/// The most dimensions that pgvector takes for a column.
const DIMENSIONS_MAX: usize = 16_000;

/// The record `vectordb` of Kong's AI plugins.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Record {
    pub strategy: Strategy,
    pub dimensions: i64,
    pub distance_metric: Metric,
    /// The greatest distance that counts as near.
    pub threshold: Option<f64>,
    pub redis: Option<servers::Record>,
    pub pgvector: Option<postgres::Record>,
}

/// Which server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Strategy {
    Pgvector,
    Redis,
}

/// How distances are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// 1 less the cosine of the angle: 0 is the same direction, 1 has nothing in common.
    Cosine,
    /// The straight line.
    Euclidean,
}

impl Metric {
    /// Its name in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Euclidean => "euclidean",
        }
    }

    /// How far two vectors are apart. Those of different length, or of no length, are infinitely
    /// far.
    pub fn distance(self, a: &[f32], b: &[f32]) -> f64 {
        if a.len() != b.len() {
            return f64::INFINITY;
        }
        let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        match self {
            Self::Euclidean => pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt(),
            Self::Cosine => {
                let (mut dot, mut left, mut right) = (0.0, 0.0, 0.0);
                for (a, b) in pairs() {
                    dot += a * b;
                    left += a * a;
                    right += b * b;
                }
                let lengths = (left * right).sqrt();
                if lengths > 0.0 { 1.0 - dot / lengths } else { f64::INFINITY }
            }
        }
    }
}

/// Why a store gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Redis.
    #[error(transparent)]
    Redis(#[from] servers::Failure),
    /// Postgres.
    #[error(transparent)]
    Postgres(#[from] postgres::Failure),
    /// What came back is not what was asked for.
    #[error("{0}: an answer that is none")]
    Strange(&'static str),
}

/// What is kept.
pub struct Item<'a> {
    /// With what it is compared: hexadecimal digits.
    pub scope: &'a str,
    /// Its name: hexadecimal digits.
    pub key: &'a str,
    /// Where it is.
    pub vector: &'a [f32],
    /// What belongs to it.
    pub value: &'a [u8],
    /// How long it stays.
    pub ttl: Duration,
}

/// What is near.
#[derive(Debug, Clone, PartialEq)]
pub struct Near {
    /// Its name.
    pub key: String,
    /// How far it is.
    pub distance: f64,
    /// What belongs to it.
    pub value: Bytes,
}

/// A worker's way to one space.
pub struct Store {
    driver: Driver,
    strategy: Strategy,
    dimensions: usize,
    metric: Metric,
    threshold: Option<f64>,
}

enum Driver {
    Redis(Redis),
    Pgvector(Pgvector),
}

impl Store {
    /// The space of this name. `place` is the record's path in the configuration, `env` what may
    /// name an identity.
    ///
    /// # Errors
    /// What stands against it, with field and remedy.
    pub fn new(
        shared: &Arc<Shared>,
        env: &Env,
        record: Record,
        place: &str,
        space: &str,
    ) -> Result<Self, Vec<String>> {
        let Record { strategy, distance_metric: metric, threshold, .. } = record;
        let dimensions = usize::try_from(record.dimensions).unwrap_or(0);
        if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
            return Err(vec![format!("{place}.dimensions: must be from 1 to {DIMENSIONS_MAX}")]);
        }
        if threshold.is_some_and(|threshold| !threshold.is_finite() || threshold < 0.0) {
            return Err(vec![format!("{place}.threshold: must not be below 0")]);
        }
        let space = format!("{space}:{dimensions}:{}", metric.as_str());
        let missing = |name| vec![format!("{place}.{name}: must be set for this strategy")];
        let driver = match strategy {
            Strategy::Redis => {
                let record = record.redis.ok_or_else(|| missing("redis"))?;
                let place = format!("{place}.redis");
                let server = record.server(&place)?.alone(&place)?;
                let redis = servers::Redis::signed_in(shared, env, server, &place)?;
                Driver::Redis(Redis::new(redis, space, dimensions, metric))
            }
            Strategy::Pgvector => {
                let record = record.pgvector.ok_or_else(|| missing("pgvector"))?;
                let server = record.server(&format!("{place}.pgvector"))?;
                let postgres = postgres::Postgres::of(shared, server)
                    .map_err(|error| vec![format!("{place}.pgvector.ssl_cert: {error}")])?;
                Driver::Pgvector(Pgvector::new(postgres, space, dimensions, metric))
            }
        };
        Ok(Self { driver, strategy, dimensions, metric, threshold })
    }

    /// What Kong calls the kind of server.
    pub fn name(&self) -> &'static str {
        match self.strategy {
            Strategy::Pgvector => "pgvector",
            Strategy::Redis => "redis",
        }
    }

    /// Where it is, for log lines.
    pub fn place(&self) -> String {
        match &self.driver {
            Driver::Redis(redis) => redis.place(),
            Driver::Pgvector(postgres) => postgres.place(),
        }
    }

    /// How many numbers a vector has.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// How distances are measured.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The greatest distance that counts as near, if one is set.
    pub fn threshold(&self) -> Option<f64> {
        self.threshold
    }

    /// Keeps something, in place of what had its name.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn keep(&self, item: &Item<'_>) -> Result<(), Failure> {
        match &self.driver {
            Driver::Redis(redis) => redis.keep(item).await,
            Driver::Pgvector(postgres) => postgres.keep(item).await,
        }
    }

    /// What belongs to a name, if its time is not over.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn find(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        match &self.driver {
            Driver::Redis(redis) => redis.find(key).await,
            Driver::Pgvector(postgres) => postgres.find(key).await,
        }
    }

    /// What is nearest in a scope, if it is not farther away than `within`.
    ///
    /// # Errors
    /// The server cannot be asked.
    pub async fn nearest(
        &self,
        scope: &str,
        vector: &[f32],
        within: f64,
    ) -> Result<Option<Near>, Failure> {
        let near = match &self.driver {
            Driver::Redis(redis) => redis.nearest(scope, vector).await,
            Driver::Pgvector(postgres) => postgres.nearest(scope, vector).await,
        };
        // Both calculate with single precision: the same text is not always at 0.
        const SLACK: f64 = 1e-6;
        near.map(|near| near.filter(|near| near.distance <= within + SLACK))
    }
}

/// Four bytes for each number, the form of Redis' vectors.
pub fn bytes(vector: &[f32]) -> Vec<u8> {
    vector.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The vector in such bytes.
pub fn vector(bytes: &[u8]) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<4>();
    numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()
}

/// A vector that all workers have in common once one of them has asked a model for it.
pub type Slot = Arc<OnceCell<Vec<f32>>>;

/// Names all that a vector depends on.
type Digest = [u8; 32];

/// The vectors of texts in the configuration. They stay as long as somebody uses them.
#[derive(Default)]
pub struct Slots(Mutex<HashMap<Digest, Weak<OnceCell<Vec<f32>>>>>);

impl Slots {
    /// The place of a vector, by a digest of all that it depends on.
    pub fn slot(&self, digest: Digest) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(&digest).and_then(Weak::upgrade) {
            return slot;
        }
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Slot::default();
        slots.insert(digest, Arc::downgrade(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_databases() {
        let of = |metric: Metric, a: [f32; 2], b: [f32; 2]| metric.distance(&a, &b);
        assert!(of(Metric::Cosine, [1.0, 0.0], [3.0, 0.0]).abs() < 1e-12);
        assert!((of(Metric::Cosine, [1.0, 0.0], [0.0, 2.0]) - 1.0).abs() < 1e-12);
        assert!((of(Metric::Cosine, [1.0, 0.0], [-1.0, 0.0]) - 2.0).abs() < 1e-12);
        assert_eq!(of(Metric::Euclidean, [1.0, 1.0], [4.0, 5.0]), 5.0);
        assert_eq!(of(Metric::Cosine, [0.0, 0.0], [0.0, 2.0]), f64::INFINITY);
        assert_eq!(Metric::Euclidean.distance(&[1.0], &[1.0, 2.0]), f64::INFINITY);
    }

    #[test]
    fn vectors_survive_their_bytes() {
        let given = [1.5, -0.25, f32::MIN_POSITIVE];
        assert_eq!(vector(&bytes(&given)), given);
    }

    #[test]
    fn a_slot_is_the_same_for_all_as_long_as_somebody_has_it() {
        let slots = Slots::default();
        let first = slots.slot([1; 32]);
        first.set(vec![1.0]).unwrap();
        assert_eq!(slots.slot([1; 32]).get(), Some(&vec![1.0]));
        drop(first);
        assert_eq!(slots.slot([1; 32]).get(), None);
        drop(slots.slot([2; 32]));
        slots.slot([3; 32]);
        assert_eq!(slots.0.lock().unwrap().len(), 1, "what nobody uses goes");
    }
}
