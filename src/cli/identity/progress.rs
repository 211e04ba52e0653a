//! What `silverback identity` is waiting for, on stderr.
//!
//! On a terminal it is one line that is written over, with the seconds, and gone at the end.
//! Elsewhere it is a line for each step that has ended. Scripts that read JSON get none.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One line that changes.
    Line,
    /// A line for each step.
    Lines,
    /// Nothing.
    Silent,
}

/// The steps under way.
pub(super) struct Progress(Rc<Inner>);

struct Inner {
    kind: Kind,
    out: RefCell<Box<dyn Write>>,
    start: Instant,
    steps: usize,
    ended: Cell<usize>,
    running: RefCell<Vec<(usize, String)>>,
    next: Cell<usize>,
}

/// A step under way; dropped it has ended.
pub(super) struct Step {
    progress: Rc<Inner>,
    id: usize,
    name: String,
    start: Instant,
}

impl Progress {
    /// Of so many steps.
    pub(super) fn new(kind: Kind, out: Box<dyn Write>, steps: usize) -> Self {
        Self(Rc::new(Inner {
            kind,
            out: RefCell::new(out),
            start: Instant::now(),
            steps,
            ended: Cell::new(0),
            running: RefCell::default(),
            next: Cell::new(0),
        }))
    }

    /// Begins a step.
    pub(super) fn begin(&self, name: String) -> Step {
        let id = self.0.next.get();
        self.0.next.set(id + 1);
        self.0.running.borrow_mut().push((id, name.clone()));
        self.0.redraw();
        Step { progress: self.0.clone(), id, name, start: Instant::now() }
    }

    /// Keeps the seconds on a terminal going; never ends.
    pub(super) async fn tick(&self) {
        const PACE: Duration = Duration::from_millis(250);
        loop {
            tokio::time::sleep(PACE).await;
            self.0.redraw();
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if self.0.kind == Kind::Line {
            self.0.write(ERASE);
        }
    }
}

impl Step {
    /// Ends it.
    pub(super) fn end(self, how: &str) {
        let inner = &self.progress;
        inner.ended.set(inner.ended.get() + 1);
        inner.running.borrow_mut().retain(|(id, _)| *id != self.id);
        if inner.kind == Kind::Lines {
            let (ended, steps) = (inner.ended.get(), inner.steps);
            let secs = self.start.elapsed().as_secs_f64();
            inner.write(&format!("[{ended}/{steps}] {}: {how} ({secs:.1} s)\n", self.name));
        }
        inner.redraw();
    }
}

/// To the first column, and the line is empty (ECMA-48, EL).
const ERASE: &str = "\r\x1b[2K";
/// No automatic line breaks from here on (DECAWM), and back.
const UNWRAPPED: &str = "\x1b[?7l";
const WRAPPED: &str = "\x1b[?7h";

impl Inner {
    /// The line. The terminal cuts off what it has no columns for: of a line that has wrapped only
    /// the last part could be written over.
    fn redraw(&self) {
        const WIDTH: usize = 120;
        if self.kind != Kind::Line {
            return;
        }
        let running = self.running.borrow();
        let Some((_, name)) = running.first() else { return };
        let secs = self.start.elapsed().as_secs();
        let mut line = format!("[{}/{}] {secs} s: {name}", self.ended.get(), self.steps);
        if running.len() > 1 {
            let _ = write!(line, ", and {} more", running.len() - 1);
        }
        let line: String = line.chars().take(WIDTH).collect();
        self.write(&format!("{ERASE}{UNWRAPPED}{line}{WRAPPED}"));
    }

    /// Progress that cannot be shown is no error.
    fn write(&self, text: &str) {
        let mut out = self.out.borrow_mut();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was written.
    #[derive(Clone, Default)]
    struct Page(Rc<RefCell<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.borrow_mut().write(text)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.borrow().clone()).unwrap()
        }
    }

    fn progress(kind: Kind) -> (Page, Progress) {
        let page = Page::default();
        (page.clone(), Progress::new(kind, Box::new(page), 2))
    }

    #[tokio::test(start_paused = true)]
    async fn a_terminal_sees_one_line_with_the_seconds_that_goes_away() {
        let (page, progress) = progress(Kind::Line);
        let step = progress.begin("token of x".repeat(20));
        let _ = tokio::time::timeout(Duration::from_millis(3100), progress.tick()).await;
        let text = page.text();
        assert!(text.contains("[0/2] 3 s: token of x") && !text.contains('\n'), "{text:?}");
        step.end("ok");
        progress.clear();
        assert!(page.text().ends_with("\r\x1b[2K"));
    }

    #[tokio::test]
    async fn a_narrow_terminal_is_not_filled_with_the_rests_of_wrapped_lines() {
        let (page, progress) = progress(Kind::Line);
        let _step = progress.begin("token of x".repeat(20));
        let text = page.text();
        let line = text.strip_prefix("\r\x1b[2K\x1b[?7l").unwrap();
        assert_eq!(line.strip_suffix("\x1b[?7h").unwrap().chars().count(), 120);
    }

    #[tokio::test(start_paused = true)]
    async fn elsewhere_each_step_is_a_line_when_it_ends() {
        let (page, progress) = progress(Kind::Lines);
        let (first, second) = (progress.begin("a".into()), progress.begin("b".into()));
        tokio::time::advance(Duration::from_millis(1500)).await;
        second.end("failed");
        first.end("ok");
        progress.clear();
        assert_eq!(page.text(), "[1/2] b: failed (1.5 s)\n[2/2] a: ok (1.5 s)\n");
    }

    #[tokio::test]
    async fn scripts_see_nothing() {
        let (page, progress) = progress(Kind::Silent);
        progress.begin("a".into()).end("ok");
        assert_eq!(page.text(), "");
    }
}
