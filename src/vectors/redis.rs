//! Vectors in Redis. Each item is a hash: `scope`, `v` (the vector) and `value`.
//!
//! A server with RediSearch (`FT.*`), or Valkey with its search module, finds the nearest by
//! itself. On a plain server a sorted set names the items of a scope by the time at which they are
//! over; the worker compares their vectors, which it asks for once.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::{COMPARED_MAX, Failure, Item, Metric, Near, bytes, vector};
use crate::redis::{self as servers, Answer, cmd, pipe};

/// Scopes whose vectors a worker knows; they are forgotten together.
const SCOPES_MAX: usize = 16;

/// What the vectors that a worker knows of a store may take, in bytes.
const KNOWN_MAX: usize = 16 << 20;

/// What a vector takes beside its numbers, in bytes: its name and its place in a map.
const ENTRY: usize = 160;

/// How many are asked for: an item that is just over may be among the nearest.
const NEAREST: usize = 4;

/// A list stays as long as the item that stays longest.
const STAY: &str = "if redis.call('pttl', KEYS[1]) < tonumber(ARGV[1]) then \
    redis.call('pexpire', KEYS[1], ARGV[1]) end";

/// Vectors by the names of their items.
type Vectors = HashMap<String, Rc<[f32]>>;

/// For each scope the vectors of its items.
struct Known {
    /// Vectors of all scopes at most.
    room: usize,
    scopes: HashMap<String, Vectors>,
}

impl Known {
    fn new(dimensions: usize) -> Self {
        let size = dimensions.saturating_mul(size_of::<f32>()).saturating_add(ENTRY);
        Self { room: (KNOWN_MAX / size).max(1), scopes: HashMap::new() }
    }

    /// How many of a scope are compared.
    fn most(&self) -> usize {
        self.room.min(COMPARED_MAX)
    }

    fn has(&self, scope: &str, name: &str) -> bool {
        self.scopes.get(scope).is_some_and(|known| known.contains_key(name))
    }

    fn forget(&mut self, scope: &str, name: &str) {
        if let Some(known) = self.scopes.get_mut(scope) {
            known.remove(name);
        }
    }

    /// Adds vectors of a scope that has these items, not more than are compared. Others go where
    /// there is no room for all.
    fn learn(&mut self, scope: &str, names: &[String], learnt: Vec<(String, Rc<[f32]>)>) {
        let is_full = |scopes: &HashMap<String, Vectors>| {
            scopes.values().map(HashMap::len).sum::<usize>() + learnt.len() > self.room
        };
        let is_new = !self.scopes.contains_key(scope);
        if is_new && self.scopes.len() >= SCOPES_MAX || is_full(&self.scopes) {
            self.scopes.retain(|known, _| known == scope);
        }
        if is_full(&self.scopes)
            && let Some(known) = self.scopes.get_mut(scope)
        {
            let names: HashSet<&String> = names.iter().collect();
            known.retain(|name, _| names.contains(name));
        }
        self.scopes.entry(scope.to_owned()).or_default().extend(learnt);
    }
}

/// The vectors of one space.
pub(super) struct Redis {
    redis: Rc<servers::Redis>,
    space: String,
    dimensions: usize,
    metric: Metric,
    /// Whether the server has an index; `None` while it is not known.
    is_indexed: Cell<Option<bool>>,
    known: RefCell<Known>,
}

impl Redis {
    pub(super) fn new(
        redis: Rc<servers::Redis>,
        space: String,
        dimensions: usize,
        metric: Metric,
    ) -> Self {
        let (is_indexed, known) = (Cell::default(), RefCell::new(Known::new(dimensions)));
        Self { redis, space, dimensions, metric, is_indexed, known }
    }

    pub(super) fn place(&self) -> String {
        self.redis.place()
    }

    fn index(&self) -> String {
        format!("silverback:vectors:{}", self.space)
    }

    /// The sorted set of a scope.
    fn list(&self, scope: &str) -> String {
        format!("silverback:scope:{}:{scope}", self.space)
    }

    /// What the keys of items begin with.
    fn head(&self) -> String {
        format!("silverback:vector:{}:", self.space)
    }

    pub(super) async fn keep(&self, item: &Item<'_>) -> Result<(), Failure> {
        let is_indexed = self.is_indexed().await?;
        let key = self.head() + item.key;
        let ttl_ms = u64::try_from(item.ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut commands = pipe();
        // Nothing stays for ever because the gateway went away between the two.
        commands.cmd("MULTI");
        commands
            .cmd("HSET")
            .arg(&key)
            .arg("scope")
            .arg(item.scope)
            .arg("v")
            .arg(bytes(item.vector))
            .arg("value")
            .arg(item.value);
        commands.cmd("PEXPIRE").arg(&key).arg(ttl_ms);
        commands.cmd("EXEC");
        if !is_indexed {
            let (list, now) = (self.list(item.scope), unix_ms());
            commands.cmd("ZADD").arg(&list).arg(now.saturating_add(ttl_ms)).arg(item.key);
            commands.cmd("ZREMRANGEBYSCORE").arg(&list).arg("-inf").arg(now);
            let last = -(self.known.borrow().most() as i64) - 1;
            commands.cmd("ZREMRANGEBYRANK").arg(&list).arg(0).arg(last);
            commands.cmd("EVAL").arg(STAY).arg(1).arg(&list).arg(ttl_ms);
        }
        let answers = self.redis.ask_all(&commands).await?;
        for answer in answers {
            // Those of a transaction are inside its answer.
            answer.extract_error().map_err(|error| servers::Failure::Refused(error.to_string()))?;
        }
        if !is_indexed {
            self.known.borrow_mut().forget(item.scope, item.key);
        }
        Ok(())
    }

    pub(super) async fn find(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        let mut command = cmd("HGET");
        command.arg(self.head() + key).arg("value");
        match self.redis.ask(&command).await? {
            Answer::BulkString(value) => Ok(Some(value.into())),
            Answer::Nil => Ok(None),
            _ => Err(Failure::Strange("redis")),
        }
    }

    pub(super) async fn nearest(
        &self,
        scope: &str,
        vector: &[f32],
    ) -> Result<Option<Near>, Failure> {
        match self.is_indexed().await? {
            true => self.searched(scope, vector).await,
            false => self.compared(scope, vector).await,
        }
    }

    /// Whether the server searches by itself; then it has an index afterwards.
    async fn is_indexed(&self) -> Result<bool, Failure> {
        if let Some(known) = self.is_indexed.get() {
            return Ok(known);
        }
        let metric = match self.metric {
            Metric::Cosine => "COSINE",
            Metric::Euclidean => "L2",
        };
        let mut command = cmd("FT.CREATE");
        command.arg(self.index()).arg("ON").arg("HASH").arg("PREFIX").arg(1).arg(self.head());
        command.arg("SCHEMA").arg("scope").arg("TAG");
        command.arg("v").arg("VECTOR").arg("FLAT").arg(6).arg("TYPE").arg("FLOAT32");
        command.arg("DIM").arg(self.dimensions).arg("DISTANCE_METRIC").arg(metric);
        let is_indexed = match self.redis.ask(&command).await {
            Ok(_) => true,
            Err(servers::Failure::Refused(words)) if words.contains("exists") => true,
            Err(servers::Failure::Refused(words)) if is_other_database(&words) => {
                tracing::info!(
                    redis = self.place(),
                    "vectordb.redis.database: RediSearch has indexes in database 0 alone: vectors \
                     are compared in the gateway, {} of a scope at most; set it to 0",
                    self.known.borrow().most()
                );
                false
            }
            Err(servers::Failure::Refused(words)) if lacks_search(&words) => {
                tracing::info!(
                    redis = self.place(),
                    "no search module ({words}): vectors are compared in the gateway, \
                     {} of a scope at most",
                    self.known.borrow().most()
                );
                false
            }
            Err(failure) => return Err(failure.into()),
        };
        self.is_indexed.set(Some(is_indexed));
        Ok(is_indexed)
    }

    /// Lets the server search.
    async fn searched(&self, scope: &str, vector: &[f32]) -> Result<Option<Near>, Failure> {
        let mut command = cmd("FT.SEARCH");
        command.arg(self.index());
        command.arg(format!("(@scope:{{{scope}}})=>[KNN {NEAREST} @v $q AS d]"));
        command.arg("PARAMS").arg(2).arg("q").arg(bytes(vector));
        command.arg("RETURN").arg(2).arg("d").arg("value").arg("DIALECT").arg(2);
        let answer = match self.redis.ask(&command).await {
            Ok(answer) => answer,
            Err(failure) => {
                // Somebody may have dropped the index; the next one makes it anew.
                self.is_indexed.set(None);
                return Err(failure.into());
            }
        };
        let Answer::Array(parts) = answer else { return Err(Failure::Strange("redis")) };
        let mut parts = parts.into_iter().skip(1);
        let mut best: Option<Near> = None;
        while let (Some(key), Some(fields)) = (parts.next(), parts.next()) {
            let near = self.near(key, fields);
            let is_better = |near: &Near| {
                best.as_ref().is_none_or(|best| near.distance.total_cmp(&best.distance).is_lt())
            };
            best = near.filter(is_better).or(best);
        }
        Ok(best)
    }

    /// An item in an answer; one that is over has no fields.
    fn near(&self, key: Answer, fields: Answer) -> Option<Near> {
        let (Answer::BulkString(key), Answer::Array(fields)) = (key, fields) else { return None };
        let key = String::from_utf8(key).ok()?.strip_prefix(&self.head())?.to_owned();
        let (mut distance, mut value) = (None, None);
        let mut fields = fields.into_iter();
        while let (Some(name), Some(Answer::BulkString(text))) = (fields.next(), fields.next()) {
            match name {
                Answer::BulkString(name) if name == b"d" => {
                    distance = std::str::from_utf8(&text).ok()?.parse::<f64>().ok();
                }
                Answer::BulkString(name) if name == b"value" => value = Some(Bytes::from(text)),
                _ => {}
            }
        }
        let distance = distance.filter(|distance| distance.is_finite())?;
        // RediSearch tells the square of a straight line.
        let distance = match self.metric {
            Metric::Cosine => distance,
            Metric::Euclidean => distance.max(0.0).sqrt(),
        };
        Some(Near { key, distance, value: value? })
    }

    /// Compares here.
    async fn compared(&self, scope: &str, asked: &[f32]) -> Result<Option<Near>, Failure> {
        let mut command = cmd("ZREVRANGEBYSCORE");
        command.arg(self.list(scope)).arg("+inf").arg(format!("({}", unix_ms()));
        command.arg("LIMIT").arg(0).arg(self.known.borrow().most());
        let Answer::Array(names) = self.redis.ask(&command).await? else {
            return Err(Failure::Strange("redis"));
        };
        let name = |name| match name {
            Answer::BulkString(name) => String::from_utf8(name).ok(),
            _ => None,
        };
        let names: Vec<String> = names.into_iter().filter_map(name).collect();
        self.learn(scope, &names).await?;
        let nearest = {
            let known = self.known.borrow();
            let Some(known) = known.scopes.get(scope) else { return Ok(None) };
            let distances = names.iter().filter_map(|name| {
                let distance = self.metric.distance(asked, known.get(name)?);
                distance.is_finite().then_some((distance, name))
            });
            distances.min_by(|a, b| a.0.total_cmp(&b.0))
        };
        let Some((distance, key)) = nearest else { return Ok(None) };
        let value = self.find(key).await?;
        Ok(value.map(|value| Near { key: key.clone(), distance, value }))
    }

    /// Asks for the vectors that are not known yet, and forgets those that are gone.
    async fn learn(&self, scope: &str, names: &[String]) -> Result<(), Failure> {
        let unknown: Vec<&String> = {
            let known = self.known.borrow();
            names.iter().filter(|name| !known.has(scope, name)).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        let mut commands = pipe();
        for name in &unknown {
            commands.cmd("HGET").arg(self.head() + name).arg("v");
        }
        let answers = self.redis.ask_all(&commands).await?;
        let told = unknown.into_iter().zip(answers).filter_map(|(name, answer)| match answer {
            Answer::BulkString(told) => Some((name.clone(), vector(&told).into())),
            _ => None,
        });
        self.known.borrow_mut().learn(scope, names, told.collect());
        Ok(())
    }
}

/// Whether a refusal says that the server, or its user, has no such commands.
fn lacks_search(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    ["unknown command", "noperm", "no permissions"].iter().any(|part| words.contains(part))
}

/// Whether a refusal says that the index would not be in the first database.
fn is_other_database(words: &str) -> bool {
    words.contains("db != 0")
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_knows_vectors_up_to_a_size() {
        let mut known = Known::new(4096);
        let (most, room) = (known.most(), known.room);
        assert_eq!(most, 1000);
        assert!(room < 2 * most, "{room}");
        let names = |scope: usize| (0..most).map(|name| format!("{scope}-{name}")).collect();
        let learn = |known: &mut Known, scope: usize| {
            let names: Vec<String> = names(scope);
            let learnt = names.iter().map(|name| (name.clone(), Rc::from([0.0]))).collect();
            known.learn(&scope.to_string(), &names, learnt);
            names
        };
        let count = |known: &Known| known.scopes.values().map(HashMap::len).sum::<usize>();
        let first = learn(&mut known, 1);
        known.forget("1", &first[0]);
        assert!(!known.has("1", &first[0]) && known.has("1", &first[1]));
        let second = learn(&mut known, 2);
        assert!(!known.has("1", &first[1]), "no room for both");
        assert!(second.iter().all(|name| known.has("2", name)));
        // The items of a scope that are gone go, too.
        let last = vec!["new".to_owned(), second[0].clone()];
        let more = (0..room).map(|name| (name.to_string(), Rc::from([0.0])));
        known.learn("2", &last, more.take(room - 1).collect());
        assert!(known.has("2", &second[0]) && !known.has("2", &second[1]));
        assert_eq!(count(&known), room);
    }

    #[test]
    fn large_vectors_are_compared_as_far_as_there_is_room() {
        let known = Known::new(16_000);
        assert_eq!(known.most(), known.room);
        assert!((200..300).contains(&known.most()), "{}", known.most());
    }
}
