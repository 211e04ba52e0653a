//! The outcome for people: blocks of labelled lines that fit 100 columns.
//!
//! What is well is short, what is wrong comes last, where the eye is, with what to do about it.

use std::fmt::Write as _;
use std::time::Duration;

use super::ask::{Answer, Exchanged, Results, State};
use super::survey::{Survey, Where};
use super::trouble::Trouble;
use crate::azure::{Fact, Identity, Origin};
use crate::plugins::Credential;

/// Columns of the widest line; addresses may be longer, so that they can be copied.
const COLUMNS: usize = 100;
/// Columns of the labels.
const LABELS: usize = 14;

/// The page that is being written.
struct Page {
    text: String,
    has_colour: bool,
}

/// Everything that was found.
pub(super) fn print(survey: &Survey, results: &Results, has_colour: bool) -> String {
    let mut page = Page { text: String::new(), has_colour };
    for (index, who) in survey.identities.iter().enumerate() {
        let exchanged = results.tokens[index].as_deref();
        page.identity(index, &who.identity, survey, exchanged);
    }
    let mut targets: Vec<_> = survey.targets.iter().zip(&results.answers).collect();
    targets.sort_by_key(|(_, answer)| answer.state);
    for (at, answer) in targets {
        page.target(at, answer);
    }
    page.sum(survey, results);
    page.text
}

impl Page {
    fn identity(
        &mut self,
        index: usize,
        identity: &Identity,
        survey: &Survey,
        exchanged: Option<&Exchanged>,
    ) {
        let mark = match exchanged.map(|exchanged| exchanged.outcome.is_ok()) {
            Some(true) => self.mark(State::Ok),
            Some(false) => self.mark(State::Failed),
            None => self.mark(State::Skipped),
        };
        let title = format!("identity {}  {}", index + 1, identity.kind());
        self.title(&mark, &title);
        let trouble = exchanged.and_then(|exchanged| {
            let failure = exchanged.outcome.as_ref().err()?;
            Some(Trouble::new(failure, exchanged.elapsed))
        });
        if let Some(trouble) = &trouble {
            self.wrong(&trouble.meaning, &trouble.remedy);
        }
        let used_by: Vec<_> = survey.used_by(index).collect();
        for (n, at) in used_by.iter().take(USED_BY_MAX).enumerate() {
            let label = if n == 0 { "used by" } else { "" };
            self.row(label, &format!("{}, {}", at.name(), at.described()));
        }
        if used_by.len() > USED_BY_MAX {
            self.row("", &format!("and {} more", used_by.len() - USED_BY_MAX));
        }
        self.row("why", identity.why());
        for Fact { name, value, from } in identity.facts() {
            let from = match from {
                Origin::Default => "the default".to_owned(),
                other => format!("from {other}"),
            };
            self.row(name, &format!("{value}  ({from})"));
        }
        // A note from the load may say what the exchange has just failed with.
        let is_told = |note: &str| trouble.as_ref().is_some_and(|it| note.contains(&it.meaning));
        for note in identity.notes().iter().filter(|note| !is_told(note)) {
            self.row("note", note);
        }
        match exchanged.map(|exchanged| (&exchanged.outcome, exchanged.elapsed)) {
            None => self.row("token", "not asked for (--offline)"),
            Some((Ok(token), elapsed)) => {
                let left = lifetime(token.left());
                self.row("token", &format!("valid for {left}; it took {}", time(elapsed)));
            }
            Some((Err(_), _)) => {}
        }
        if let Some(trouble) = &trouble {
            self.details(trouble);
        }
    }

    /// What support asks for.
    fn details(&mut self, trouble: &Trouble) {
        self.row("it said", &trouble.said);
        let mut details = Vec::new();
        details.extend(trouble.status.map(|status| format!("status {status}")));
        details.extend(trouble.aadsts.map(|code| format!("AADSTS{code}")));
        let calls = if trouble.attempts == 1 { "call" } else { "calls" };
        details.push(format!("{} {calls} in {}", trouble.attempts, time(trouble.elapsed)));
        self.row("details", &details.join(", "));
        self.row("correlation", trouble.correlation_id.as_deref().unwrap_or_default());
    }

    fn target(&mut self, at: &Where, answer: &Answer) {
        let mark = self.mark(answer.state);
        self.title(&mark, &format!("target  {} at {}", at.name(), at.target.host));
        if answer.state == State::Failed {
            self.wrong(&answer.meaning, &answer.remedy);
        }
        self.row("used at", &at.described());
        if let Ok(question) = &at.target.question {
            self.row("url", &question.url);
        }
        self.row("signs in", &signs_in(at));
        let mut details = Vec::new();
        details.extend(answer.status.map(|status| format!("status {status}")));
        details.extend(answer.elapsed.map(time));
        match answer.state {
            State::Ok => {
                let meaning = format!("{} ({})", answer.meaning, details.join(", "));
                self.row("answer", &meaning);
            }
            State::Skipped => self.row("skipped", &answer.meaning),
            State::Failed => {
                let id = answer.request_id.as_ref();
                details.extend(id.map(|id| format!("apim-request-id {id}")));
                self.row("it said", &answer.said);
                self.row("details", &details.join(", "));
            }
        }
    }

    /// What is wrong and what to do about it: the lines that matter.
    fn wrong(&mut self, meaning: &str, remedy: &str) {
        self.painted_row("problem", meaning, RED);
        self.painted_row("to do", remedy, BOLD);
    }

    /// `2 identities: 1 ok, 1 failed; 3 targets: 3 ok`.
    fn sum(&mut self, survey: &Survey, results: &Results) {
        if survey.targets.is_empty() {
            self.text.push_str("no target of ai-proxy or ai-proxy-advanced: nothing to try\n");
            return;
        }
        let identities = results.tokens.iter().map(|token| match token {
            None => State::Skipped,
            Some(exchanged) if exchanged.outcome.is_ok() => State::Ok,
            Some(_) => State::Failed,
        });
        let identities = counted("identity", "identities", identities.collect());
        let targets = results.answers.iter().map(|answer| answer.state).collect();
        let targets = counted("target", "targets", targets);
        let _ = writeln!(self.text, "\n{identities}; {targets}");
    }

    fn title(&mut self, mark: &str, title: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let title = self.painted(title, BOLD);
        let _ = writeln!(self.text, "{gap}{mark}{title}");
    }

    fn mark(&self, state: State) -> String {
        match state {
            State::Ok => self.painted("ok       ", GREEN),
            State::Skipped => self.painted("-        ", ""),
            State::Failed => self.painted("FAILED   ", RED),
        }
    }

    fn row(&mut self, label: &str, text: &str) {
        self.painted_row(label, text, "");
    }

    /// A label and its text; nothing when there is no text.
    fn painted_row(&mut self, label: &str, text: &str, colour: &str) {
        for (n, line) in wrapped(text, COLUMNS - LABELS - 2).iter().enumerate() {
            let label = if n == 0 { label } else { "" };
            let line = self.painted(line, colour);
            let _ = writeln!(self.text, "  {label:<LABELS$}{line}");
        }
    }

    fn painted(&self, text: &str, colour: &str) -> String {
        if self.has_colour && !colour.is_empty() {
            return format!("{colour}{text}\x1b[0m");
        }
        text.to_owned()
    }
}

/// Places that are listed for one identity; a hundred routes may share it.
const USED_BY_MAX: usize = 10;

const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[32m";
const BOLD: &str = "\x1b[1m";

fn signs_in(at: &Where) -> String {
    match (&at.target.credential, at.who) {
        (Credential::Identity(_), Some(who)) => format!("with a token of identity {}", who + 1),
        (Credential::Key { place, field }, _) => format!("with the key of {field}, in {place}"),
        (Credential::Unresolved(field), _) => format!("not: {field} is unresolved"),
        _ => "not: it has no credential of its own".to_owned(),
    }
}

fn counted(one: &str, many: &str, states: Vec<State>) -> String {
    let all = states.len();
    let name = if all == 1 { one } else { many };
    let count = |state| states.iter().filter(|known| **known == state).count();
    let parts = [(State::Ok, "ok"), (State::Failed, "failed"), (State::Skipped, "not tried")];
    let parts = parts.map(|(state, name)| (count(state), name));
    let parts = parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, name)| format!("{n} {name}"));
    let parts = parts.collect::<Vec<_>>().join(", ");
    if all == 0 { format!("no {many}") } else { format!("{all} {name}: {parts}") }
}

fn time(duration: Duration) -> String {
    match duration.as_millis() {
        ms @ 0..=999 => format!("{ms} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}

/// `3599 s (59 min)`.
fn lifetime(left: Duration) -> String {
    let secs = left.as_secs();
    match secs {
        0..=119 => format!("{secs} s"),
        120..=7199 => format!("{secs} s ({} min)", secs / 60),
        _ => format!("{secs} s ({} h)", secs / 3600),
    }
}

/// Lines of at most so many columns; a word that is longer stays whole.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ if word.is_empty() => {}
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_and_addresses_stay_whole() {
        assert_eq!(wrapped("a bb  ccc", 4), ["a bb", "ccc"]);
        assert_eq!(wrapped("see https://x/y now", 6), ["see", "https://x/y", "now"]);
        assert!(wrapped("", 4).is_empty());
    }

    #[test]
    fn the_sum_counts_what_there_is() {
        let states = vec![State::Ok, State::Failed, State::Ok, State::Skipped];
        assert_eq!(counted("t", "ts", states), "4 ts: 2 ok, 1 failed, 1 not tried");
        assert_eq!(counted("t", "ts", vec![State::Ok]), "1 t: 1 ok");
        assert_eq!(counted("t", "ts", Vec::new()), "no ts");
    }

    #[test]
    fn colour_is_only_there_when_it_is_wanted() {
        let page = |has_colour| {
            let mut page = Page { text: String::new(), has_colour };
            page.wrong("no token", "");
            page.text
        };
        assert_eq!(page(false), format!("  {:<14}no token\n", "problem"));
        assert!(page(true).contains("\x1b[1;31mno token\x1b[0m"));
    }
}
