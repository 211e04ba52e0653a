//! Counters in Redis, with Kong's keys and Kong's scripts: gateways of both kinds count together.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::quota::{Moment, Period, Scope, Used, Whom};
use crate::redis::{Answer, Commands, Failure, Redis, cmd, number, pipe};

/// Counts one and says what was counted before; the first one sets the end.
const COUNT: &str = "local n = redis.call('incr', KEYS[1]) \
    if n == 1 then redis.call('expire', KEYS[1], ARGV[1]) end \
    return n - 1";

/// Adds to a counter; the first one sets the end.
const ADD: &str = "local known = redis.call('exists', KEYS[1]) \
    redis.call('incrby', KEYS[1], ARGV[1]) \
    if known == 0 then redis.call('expireat', KEYS[1], ARGV[2]) end";

/// The counters of one scope.
pub struct Remote {
    redis: Rc<Redis>,
    /// What keys begin with.
    head: String,
    /// Between Kong's period and the one before: the name of a limit, if it has one.
    name: Option<Arc<str>>,
}

impl Remote {
    /// `head` and `name` are as in Kong's keys: `ratelimit` has no name, `response-ratelimit` has.
    pub fn new(redis: Rc<Redis>, head: &str, scope: &Scope, name: Option<&str>) -> Self {
        let id = |id: Option<Uuid>| id.unwrap_or_default();
        let head = format!("{head}:{}:{}:", id(scope.route), id(scope.service));
        Self { redis, head, name: name.map(Into::into) }
    }

    /// The key of a counter, in Kong's form.
    fn key(&self, whom: &str, period: Period, moment: &Moment) -> String {
        let mut key = format!("{}{whom}:{}000:", self.head, moment.start(period));
        if let Some(name) = &self.name {
            let _ = write!(key, "{name}:");
        }
        key.push_str(period.name());
        key
    }

    /// Counts one in every window, and says what was counted before.
    pub async fn count(
        &self,
        whom: &str,
        periods: impl Iterator<Item = Period>,
        moment: &Moment,
    ) -> Result<Used, Failure> {
        let mut commands = pipe();
        for period in periods {
            let key = self.key(whom, period, moment);
            commands.cmd("EVAL").arg(COUNT).arg(1).arg(key).arg(period.seconds());
        }
        counts(self.redis.ask_all(&commands).await?)
    }

    /// What is counted.
    pub async fn used(
        &self,
        whom: &str,
        periods: impl Iterator<Item = Period>,
        moment: &Moment,
    ) -> Result<Used, Failure> {
        let mut command = cmd("MGET");
        for period in periods {
            command.arg(self.key(whom, period, moment));
        }
        match self.redis.ask(&command).await? {
            Answer::Array(answers) => counts(answers),
            _ => Err(Failure::Refused("no list came back".to_owned())),
        }
    }

    /// Adds to every window of the calendar, as Kong does: also to those without a limit.
    pub async fn add(&self, whom: &str, moment: &Moment, more: i64) -> Result<(), Failure> {
        let mut commands = pipe();
        for period in Period::ALL {
            let ends = moment.second() + period.seconds();
            addition(&mut commands, &self.key(whom, period, moment), more, ends);
        }
        self.redis.ask_all(&commands).await.map(drop)
    }
}

fn addition(commands: &mut Commands, key: &str, more: i64, ends: u64) {
    commands.cmd("EVAL").arg(ADD).arg(1).arg(key).arg(more).arg(ends);
}

fn counts(answers: Vec<Answer>) -> Result<Used, Failure> {
    let count = |answer: Answer| match answer {
        Answer::Nil => Ok(0),
        Answer::ServerError(error) => Err(Failure::Refused(error.to_string())),
        answer => number(&answer).ok_or_else(|| Failure::Refused("no number".to_owned())),
    };
    answers.into_iter().map(count).collect()
}

/// Who is limited, as Kong writes it into keys.
pub fn identifier(whom: &Whom) -> String {
    match whom {
        Whom::Id(id) => id.to_string(),
        Whom::Address(address) => address.to_string(),
        Whom::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Whom::Digest(digest) => digest.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }),
    }
}

/// Counters that are compared with Redis now and then (`sync_rate`): a request asks Redis only
/// about who is new, and what was counted here goes there in one go.
pub struct Synced {
    remote: Remote,
    every: Duration,
    counters: RefCell<HashMap<String, Counter>>,
    /// A comparison is to come.
    is_due: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Counter {
    used: i64,
    /// What Redis does not know yet. A new counter begins at -1, since asking has counted one.
    more: i64,
    /// Seconds since 1970.
    ends: u64,
}

/// Counters between two comparisons; more are asked of Redis.
const KNOWN_MAX: usize = 100_000;

impl Synced {
    /// Counters that are compared this often.
    pub fn new(remote: Remote, every: Duration) -> Rc<Self> {
        Rc::new(Self { remote, every, counters: RefCell::default(), is_due: Cell::new(false) })
    }

    /// What is used, as far as this worker knows.
    pub async fn used(
        &self,
        whom: &str,
        periods: impl Iterator<Item = Period> + Clone,
        moment: &Moment,
    ) -> Result<Used, Failure> {
        let now = moment.second();
        let known: Option<Used> = {
            let counters = self.counters.borrow();
            let known = |period| {
                let counter = counters.get(&self.remote.key(whom, period, moment))?;
                Some(if counter.ends > now { counter.used + counter.more } else { 0 })
            };
            periods.clone().map(known).collect()
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let used = self.remote.count(whom, periods.clone(), moment).await?;
        let mut counters = self.counters.borrow_mut();
        if counters.len() < KNOWN_MAX {
            for (period, used) in periods.zip(&used) {
                let ends = moment.start(period) + period.seconds();
                let counter = Counter { used: *used, more: -1, ends };
                counters.entry(self.remote.key(whom, period, moment)).or_insert(counter);
            }
        }
        Ok(used)
    }

    /// Counts one here, for Redis to learn soon. Called for refused requests with nothing to add,
    /// since asking has counted one.
    pub fn add(
        self: &Rc<Self>,
        whom: &str,
        periods: impl Iterator<Item = Period>,
        moment: &Moment,
        more: i64,
    ) {
        let mut counters = self.counters.borrow_mut();
        for period in periods {
            if let Some(counter) = counters.get_mut(&self.remote.key(whom, period, moment)) {
                counter.more += more;
            }
        }
        drop(counters);
        if !self.is_due.replace(true) {
            let this = self.clone();
            tokio::task::spawn_local(async move {
                tokio::time::sleep(this.every).await;
                this.compare().await;
            });
        }
    }

    /// Tells Redis what was counted, and forgets what it said: the next request asks anew.
    async fn compare(&self) {
        self.is_due.set(false);
        let counted = std::mem::take(&mut *self.counters.borrow_mut());
        let mut commands = pipe();
        for (key, counter) in &counted {
            addition(&mut commands, key, counter.more, counter.ends);
        }
        if let Err(failure) = self.remote.redis.ask_all(&commands).await {
            tracing::error!(redis = %self.remote.redis.place(), "[rate-limiting] {failure}");
        }
    }
}
