//! What the process asks the Lua code of its workers, and what one of them answers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The questions that wait for their answers, by number.
#[derive(Debug, Default)]
pub struct Answers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    senders: BTreeMap<u64, oneshot::Sender<Vec<u8>>>,
}

impl Answers {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new question.
    pub(super) fn wait(&self) -> (u64, oneshot::Receiver<Vec<u8>>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        // Who does not wait any more is forgotten.
        waiting.senders.retain(|_, sender| !sender.is_closed());
        waiting.last += 1;
        let id = waiting.last;
        waiting.senders.insert(id, sender);
        (id, receiver)
    }

    /// Answers a question; nobody may be waiting.
    pub fn give(&self, id: u64, answer: Vec<u8>) {
        if let Some(sender) = self.waiting().senders.remove(&id) {
            drop(sender.send(answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_answer_counts_and_who_has_gone_is_forgotten() {
        let answers = Answers::default();
        let (id, answer) = answers.wait();
        answers.give(id, b"first".to_vec());
        answers.give(id, b"second".to_vec());
        assert_eq!(answer.await.unwrap(), b"first");
        drop(answers.wait());
        let _waits = answers.wait();
        assert_eq!(answers.waiting().senders.len(), 1);
    }
}
