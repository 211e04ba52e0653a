//! Whose turn it is, in one worker.

use std::cell::Cell;

/// For each target what it has saved up, and when it was chosen last.
#[derive(Default)]
pub(in super::super) struct Turns {
    targets: Box<[Turn]>,
    count: Cell<u64>,
}

#[derive(Default)]
struct Turn {
    saved: Cell<i64>,
    last: Cell<u64>,
}

impl Turns {
    /// For so many targets.
    pub(in super::super) fn new(targets: usize) -> Self {
        let targets = std::iter::repeat_with(Turn::default).take(targets).collect();
        Self { targets, count: Cell::new(0) }
    }

    /// How many targets it is for.
    pub(in super::super) fn len(&self) -> usize {
        self.targets.len()
    }

    /// Credit that a target has saved up.
    pub(super) fn saved(&self, index: usize) -> Option<&Cell<i64>> {
        self.targets.get(index).map(|turn| &turn.saved)
    }

    /// When a target was chosen last; greater is later.
    pub(super) fn last(&self, index: usize) -> u64 {
        self.targets.get(index).map_or(0, |turn| turn.last.get())
    }

    /// Choices so far.
    pub(super) fn count(&self) -> u64 {
        self.count.get()
    }

    /// Takes note of a choice.
    pub(super) fn chose(&self, index: usize) {
        self.count.set(self.count.get() + 1);
        if let Some(turn) = self.targets.get(index) {
            turn.last.set(self.count.get());
        }
    }
}
