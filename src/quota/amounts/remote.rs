//! The same amounts in Redis, for several gateways.
//!
//! A counter is a key for each window: `<namespace>:<number of the window>:<length>:<whom>`.

use std::rc::Rc;
use std::sync::Arc;

use super::{Level, Window};
use crate::redis::{Answer, Failure, Redis, pipe};

/// Reads both windows and adds to the current one if there is room. Numbers go as texts: Redis
/// would cut off their fractions.
const RESERVE: &str = "local now = tonumber(redis.call('get', KEYS[1]) or '0') \
    local before = tonumber(redis.call('get', KEYS[2]) or '0') \
    local more, limit = tonumber(ARGV[1]), tonumber(ARGV[2]) \
    local used = now + before * tonumber(ARGV[3]) \
    local fits = used < limit and used + more <= limit \
    if fits then \
      now = tonumber(redis.call('incrbyfloat', KEYS[1], ARGV[1])) \
      redis.call('expire', KEYS[1], ARGV[4]) \
    end \
    return { tostring(now), tostring(before), fits and 1 or 0 }";

/// Adds to a window that may be over.
const SETTLE: &str = "redis.call('incrbyfloat', KEYS[1], ARGV[1]) \
    redis.call('expire', KEYS[1], ARGV[2]) return 1";

/// Adds to both windows, and reads them.
const SYNC: &str = "for i = 1, 2 do \
      if tonumber(ARGV[i]) ~= 0 then \
        redis.call('incrbyfloat', KEYS[i], ARGV[i]) \
        redis.call('expire', KEYS[i], ARGV[3]) \
      end \
    end \
    return { redis.call('get', KEYS[1]) or '0', redis.call('get', KEYS[2]) or '0', 1 }";

/// The counters of one plugin instance.
pub struct Remote {
    redis: Rc<Redis>,
    namespace: Arc<str>,
}

impl Remote {
    /// Counters behind a way to a server.
    pub fn new(redis: Rc<Redis>, namespace: Arc<str>) -> Self {
        Self { redis, namespace }
    }

    /// Where they are, for log lines.
    pub fn place(&self) -> String {
        self.redis.place()
    }

    fn key(&self, whom: &str, window: &Window, index: u64) -> String {
        // The windows of a counter are asked about together, so a cluster has them in one place.
        match self.redis.is_cluster() {
            true => format!("{{{}:{}:{whom}}}:{index}", self.namespace, window.size),
            false => format!("{}:{index}:{}:{whom}", self.namespace, window.size),
        }
    }

    /// See [`super::Amounts::reserve`]; all in one go.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub async fn reserve(
        &self,
        wanted: impl Iterator<Item = (&str, &Window, f64)>,
        time: f64,
    ) -> Result<Vec<(Level, bool)>, Failure> {
        let mut commands = pipe();
        for (whom, window, more) in wanted {
            let index = window.index(time);
            let share = if window.slides { 1.0 - window.elapsed(time) } else { 0.0 };
            let command = commands.cmd("EVAL").arg(RESERVE).arg(2);
            command.arg(self.key(whom, window, index));
            command.arg(self.key(whom, window, index.saturating_sub(1)));
            command.arg(text(more)).arg(text(window.limit)).arg(text(share)).arg(2 * window.size);
        }
        self.redis.ask_all(&commands).await?.into_iter().map(read).collect()
    }

    /// Adds to counters what was used here, and says what all have used.
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub async fn sync(
        &self,
        owed: impl Iterator<Item = (&str, &Window, u64, Level)>,
    ) -> Result<Vec<Level>, Failure> {
        let mut commands = pipe();
        for (whom, window, index, level) in owed {
            let command = commands.cmd("EVAL").arg(SYNC).arg(2);
            command.arg(self.key(whom, window, index));
            command.arg(self.key(whom, window, index.saturating_sub(1)));
            command.arg(text(level.now)).arg(text(level.before)).arg(2 * window.size);
        }
        let answers = self.redis.ask_all(&commands).await?.into_iter();
        answers.map(|answer| read(answer).map(|(level, _)| level)).collect()
    }

    /// See [`super::Amounts::settle`].
    ///
    /// # Errors
    /// Redis cannot be asked.
    pub async fn settle(
        &self,
        changes: &[(Window, Box<str>, f64)],
        since: f64,
    ) -> Result<(), Failure> {
        let mut commands = pipe();
        for (window, whom, more) in changes {
            let key = self.key(whom, window, window.index(since));
            let command = commands.cmd("EVAL").arg(SETTLE).arg(1).arg(key);
            command.arg(text(*more)).arg(2 * window.size);
        }
        self.redis.ask_all(&commands).await.map(drop)
    }
}

/// A number as Lua and Redis read it, never in a form with an exponent.
fn text(number: f64) -> String {
    format!("{number:.9}")
}

fn read(answer: Answer) -> Result<(Level, bool), Failure> {
    let Answer::Array(parts) = answer else {
        return Err(Failure::Refused("no list came back".to_owned()));
    };
    let number = |at: usize| match parts.get(at) {
        Some(Answer::BulkString(text)) => std::str::from_utf8(text).ok()?.parse::<f64>().ok(),
        Some(Answer::Int(number)) => Some(*number as f64),
        _ => None,
    };
    match (number(0), number(1), number(2)) {
        (Some(now), Some(before), Some(fits)) => Ok((Level { now, before }, fits > 0.0)),
        _ => Err(Failure::Refused("no numbers came back".to_owned())),
    }
}
