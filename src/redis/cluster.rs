//! Redis Cluster: which node has a key, learned from the nodes themselves.
//!
//! A key belongs to one of 16384 slots, and a node that does not have its slot says who does
//! (`MOVED`). So the first question goes to a node of the configuration, and the next ones to the
//! right one. Specification: redis.io, "Redis cluster specification".

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use redis::aio::ConnectionLike as _;
use redis::{Arg, Cmd, Pipeline, Value, cmd, pipe};

use super::line::Line;
use super::server::Place;
use super::{Failure, Redis};

const SLOTS: u16 = 16384;
/// Nodes that have a connection; a cluster has fewer.
const NODES_MAX: usize = 1000;

/// What is known of a cluster.
#[derive(Default)]
pub(super) struct Map {
    slots: RefCell<HashMap<u16, Place>>,
    nodes: RefCell<HashMap<Place, Rc<Line>>>,
}

/// Where a node sends a question on to.
enum Elsewhere {
    /// From now on.
    Moved(u16, Place),
    /// This once: its slot is under way.
    Ask(Place),
}

impl Map {
    fn node(&self, place: &Place) -> Rc<Line> {
        let mut nodes = self.nodes.borrow_mut();
        if nodes.len() >= NODES_MAX && !nodes.contains_key(place) {
            nodes.clear();
        }
        nodes.entry(place.clone()).or_insert_with(|| Rc::new(Line::to(place.clone()))).clone()
    }

    /// A node that cannot be reached has nothing any more: another one says who has.
    fn lose(&self, place: &Place) {
        self.slots.borrow_mut().retain(|_, of| of != place);
        self.nodes.borrow_mut().remove(place);
    }

    /// Asks each node what it has the keys of; answers in the order of the questions.
    pub(super) async fn ask_all(
        &self,
        redis: &Redis,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, Failure> {
        let commands: Vec<&Cmd> = commands.cmd_iter().collect();
        let mut answers: Vec<Value> = vec![Value::Nil; commands.len()];
        let mut waiting: Vec<(usize, Option<Place>)> =
            (0..commands.len()).map(|at| (at, None)).collect();
        for _ in 0..=redis.server.redirections_max {
            let mut by_place: BTreeMap<(Option<Place>, bool), Vec<usize>> = BTreeMap::new();
            for (at, asked) in waiting.drain(..) {
                let is_asked = asked.is_some();
                let known = || self.slots.borrow().get(&slot(commands[at])).cloned();
                by_place.entry((asked.or_else(known), is_asked)).or_default().push(at);
            }
            for ((place, is_asked), which) in by_place {
                let those = which.iter().map(|at| commands[*at]);
                let said = match self.ask_node(redis, place.as_ref(), is_asked, those).await {
                    Ok(said) => said,
                    Err(failure) => match place {
                        Some(place) => {
                            self.lose(&place);
                            waiting.extend(which.into_iter().map(|at| (at, None)));
                            continue;
                        }
                        None => return Err(failure),
                    },
                };
                for (at, answer) in which.into_iter().zip(said) {
                    match elsewhere(&answer) {
                        None => answers[at] = answer,
                        Some(Elsewhere::Ask(place)) => waiting.push((at, Some(place))),
                        Some(Elsewhere::Moved(slot, place)) => {
                            self.slots.borrow_mut().insert(slot, place);
                            waiting.push((at, None));
                        }
                    }
                }
            }
            if waiting.is_empty() {
                return Ok(answers);
            }
        }
        Err(Failure::Refused("too many redirections in the cluster".to_owned()))
    }

    async fn ask_node(
        &self,
        redis: &Redis,
        place: Option<&Place>,
        is_asked: bool,
        commands: impl Iterator<Item = &Cmd>,
    ) -> Result<Vec<Value>, Failure> {
        let mut pipeline = pipe();
        for command in commands {
            if is_asked {
                pipeline.add_command(cmd("ASKING"));
            }
            pipeline.add_command(command.clone());
        }
        let count = pipeline.cmd_iter().count();
        let node = place.map(|place| self.node(place));
        let line = node.as_deref().unwrap_or(&redis.line);
        let asked = line.asked(redis, async |connection| {
            connection.req_packed_commands(&pipeline, 0, count).await
        });
        let answers = asked.await?;
        let step = if is_asked { 2 } else { 1 };
        Ok(answers.into_iter().skip(step - 1).step_by(step).collect())
    }
}

fn elsewhere(answer: &Value) -> Option<Elsewhere> {
    let Value::ServerError(error) = answer else { return None };
    let mut parts = error.details()?.split(' ');
    let slot = parts.next()?.parse::<u16>().ok()?;
    let (host, port) = parts.next()?.rsplit_once(':')?;
    let place = (host.to_owned(), port.parse().ok()?);
    match error.code() {
        "MOVED" if slot < SLOTS => Some(Elsewhere::Moved(slot, place)),
        "ASK" => Some(Elsewhere::Ask(place)),
        _ => None,
    }
}

/// The slot of a command's first key, which stands behind the script and the number of keys of
/// `EVAL`.
fn slot(command: &Cmd) -> u16 {
    let text = |at| match command.args_iter().nth(at) {
        Some(Arg::Simple(text)) => text,
        _ => &[],
    };
    slot_of(if text(0).eq_ignore_ascii_case(b"EVAL") { text(3) } else { text(1) })
}

/// CRC16 (XMODEM) of what stands in braces, if anything does.
fn slot_of(key: &[u8]) -> u16 {
    let from = memchr::memchr(b'{', key).map(|at| at + 1);
    let tag = from.and_then(|from| {
        let length = memchr::memchr(b'}', &key[from..])?;
        key.get(from..from + length).filter(|tag| !tag.is_empty())
    });
    let crc = tag.unwrap_or(key).iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => crc << 1 ^ 0x1021,
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_of_the_specification() {
        assert_eq!(slot_of(b"123456789"), 0x31C3);
        assert_eq!(slot_of(b"{user1000}.following"), slot_of(b"{user1000}.followers"));
        assert_eq!(slot_of(b"foo{}{bar}"), slot_of(b"foo{}{bar}"));
        assert_ne!(slot_of(b"foo{}{bar}"), slot_of(b"bar"));
        let mut command = cmd("EVAL");
        command.arg("return 1").arg(1).arg("{a}b").arg("x");
        assert_eq!(slot(&command), slot_of(b"a"));
        assert_eq!(slot(cmd("GET").arg("a")), slot_of(b"a"));
    }
}
