//! What `silverback spec` prints, in the forms that busted has.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Instant;

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::cli::print;
use crate::lua::{Case, Outcome};

/// How cases are shown.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Output {
    /// A sign for each case, then what failed
    #[value(alias = "utfTerminal")]
    Terminal,
    /// The same in plain letters
    #[value(alias = "plainTerminal")]
    Plain,
    /// Each case with its name
    Gtest,
    /// The Test Anything Protocol
    #[value(alias = "TAP")]
    Tap,
    /// One JSON object at the end
    Json,
}

pub(super) struct Report {
    output: Output,
    colors: bool,
    cases: Vec<Case>,
    began: Instant,
}

impl Report {
    pub(super) fn new(output: Output) -> Self {
        let colors = output != Output::Plain && std::io::stdout().is_terminal();
        Self { output, colors, cases: Vec::new(), began: Instant::now() }
    }

    /// Shows a case at once, and keeps it for the sums.
    pub(super) fn add(&mut self, case: Case) {
        let shown = match self.output {
            Output::Terminal => sign(case.outcome, ["●", "◼", "✱", "◌"])
                .map(|sign| self.colored(case.outcome, sign)),
            Output::Plain => sign(case.outcome, ["+", "-", "*", "."]).map(str::to_owned),
            Output::Gtest => sign(case.outcome, ["OK", "FAILED", "ERROR", "PENDING"]).map(|word| {
                let ms = case.took.as_secs_f64() * 1000.0;
                let word = self.colored(case.outcome, &format!("[{word:^9}]"));
                format!("{word} {}: {} ({ms:.2} ms)\n", case.place, case.name)
            }),
            Output::Tap => self.tap(&case),
            Output::Json => None,
        };
        if let Some(shown) = shown {
            print(&shown);
        }
        self.cases.push(case);
    }

    /// Everything that is to be told at the end.
    pub(super) fn finish(&self) {
        let text = match self.output {
            Output::Json => format!("{:#}\n", self.json()),
            Output::Tap => format!("1..{}\n", self.cases.len() - self.count(Outcome::Skipped)),
            _ => self.summary(),
        };
        print(&text);
    }

    /// How many cases have been told of.
    pub(super) fn len(&self) -> usize {
        self.cases.len()
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.cases.iter().filter(|case| case.outcome == outcome).count()
    }

    fn colored(&self, outcome: Outcome, text: &str) -> String {
        let color = match outcome {
            Outcome::Success => 32,
            Outcome::Failure => 31,
            Outcome::Error => 35,
            Outcome::Pending | Outcome::Skipped => 33,
        };
        if self.colors { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn summary(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        let some = |outcome, one: &str, many: &str| {
            let count = self.count(outcome);
            format!("{count} {}", if count == 1 { one } else { many })
        };
        let mut text = format!(
            "\n{} / {} / {} / {} : {seconds:.6} seconds\n",
            some(Outcome::Success, "success", "successes"),
            some(Outcome::Failure, "failure", "failures"),
            some(Outcome::Error, "error", "errors"),
            some(Outcome::Pending, "pending", "pending"),
        );
        let skipped = self.count(Outcome::Skipped);
        if skipped > 0 {
            let _ = writeln!(text, "{skipped} not run, because a setup before them failed");
        }
        let told = [Outcome::Pending, Outcome::Failure, Outcome::Error];
        for case in told.iter().flat_map(|o| self.cases.iter().filter(|case| case.outcome == *o)) {
            let word = match case.outcome {
                Outcome::Pending => "Pending",
                Outcome::Failure => "Failure",
                _ => "Error",
            };
            let word = self.colored(case.outcome, word);
            let _ = write!(text, "\n{word} → {}\n{}\n", case.place, case.name);
            if !case.message.is_empty() {
                let _ = writeln!(text, "{}", case.message);
            }
            if let Some(trace) = &case.trace {
                let _ = write!(text, "\n{trace}\n");
            }
        }
        text
    }

    fn tap(&self, case: &Case) -> Option<String> {
        let number = 1 + self.cases.len() - self.count(Outcome::Skipped);
        let name = format!("{} @ {}", case.name.replace('\n', " "), case.place);
        let mut text = match case.outcome {
            Outcome::Skipped => return None,
            Outcome::Success => format!("ok {number} - {name}\n"),
            Outcome::Pending => format!("ok {number} - {name} # SKIP {}\n", one_line(case)),
            _ => format!("not ok {number} - {name}\n"),
        };
        if matches!(case.outcome, Outcome::Failure | Outcome::Error) {
            for line in case.message.lines().chain(case.trace.iter().flat_map(|t| t.lines())) {
                let _ = writeln!(text, "# {line}");
            }
        }
        Some(text)
    }

    fn json(&self) -> Value {
        let case = |case: &Case| {
            json!({
                "name": case.name,
                "place": case.place,
                "message": case.message,
                "trace": case.trace,
                "seconds": case.took.as_secs_f64(),
            })
        };
        let of = |outcome| -> Vec<Value> {
            self.cases.iter().filter(|case| case.outcome == outcome).map(case).collect()
        };
        json!({
            "successes": of(Outcome::Success),
            "failures": of(Outcome::Failure),
            "errors": of(Outcome::Error),
            "pendings": of(Outcome::Pending),
            "not_run": of(Outcome::Skipped),
            "duration": self.began.elapsed().as_secs_f64(),
        })
    }
}

/// The reason of a pending case, for a comment.
fn one_line(case: &Case) -> String {
    case.message.replace('\n', " ")
}

fn sign(outcome: Outcome, signs: [&str; 4]) -> Option<&str> {
    let [success, failure, error, pending] = signs;
    match outcome {
        Outcome::Success => Some(success),
        Outcome::Failure => Some(failure),
        Outcome::Error => Some(error),
        Outcome::Pending => Some(pending),
        Outcome::Skipped => None,
    }
}
