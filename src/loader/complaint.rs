//! What is wrong with a configuration, for people.

use std::collections::HashMap;

use crate::config::{Errors, Problem};
use crate::snapshot::{Place, Snapshot};

/// One thing that is wrong, and where, if that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The place in a file.
    pub place: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Complaint {
    /// Without a place.
    pub fn plain(message: String) -> Self {
        Self { place: None, message, hint: None }
    }

    /// Lines of which each may begin with the place of a plugin.
    pub(super) fn of_lines(lines: &[String], snapshot: &Snapshot) -> Vec<Self> {
        let places = snapshot.places.values().filter(|_| !lines.is_empty());
        let places: HashMap<String, &Place> =
            places.map(|place| (place.to_string(), place)).collect();
        let split = |line: &String| {
            let ends = line.match_indices(": ");
            let found = ends.filter_map(|(end, _)| Some((*places.get(&line[..end])?, end))).last();
            match found {
                None => Self::plain(line.clone()),
                Some((place, end)) => {
                    let message = line[end + 2..].to_owned();
                    Self { place: Some(place.clone()), message, hint: None }
                }
            }
        };
        lines.iter().map(split).collect()
    }
}

impl From<&Problem> for Complaint {
    fn from(problem: &Problem) -> Self {
        let place = Some(problem.place()).filter(|place| place.line > 0);
        Self { place, message: problem.message.clone(), hint: problem.hint.clone() }
    }
}

impl std::fmt::Display for Complaint {
    /// `file:line: path: message (hint)`, as far as known.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(place) = &self.place {
            let separator = if place.path.is_empty() { "" } else { ": " };
            write!(f, "{place}{separator}")?;
        }
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " ({hint})"))
    }
}

/// Why a configuration is not loaded.
pub enum Refused {
    /// The files say something wrong.
    Invalid(Errors),
    /// Something else: a file that cannot be read, a plugin that cannot be made.
    Unusable(Vec<Complaint>),
}

impl Refused {
    /// Every error.
    pub fn complaints(&self) -> Vec<Complaint> {
        match self {
            Self::Invalid(errors) => errors.problems().iter().map(Complaint::from).collect(),
            Self::Unusable(complaints) => complaints.clone(),
        }
    }

    /// Every error, one line each.
    pub fn lines(&self) -> Vec<String> {
        self.complaints().iter().map(ToString::to_string).collect()
    }
}

impl From<Vec<String>> for Refused {
    fn from(lines: Vec<String>) -> Self {
        Self::Unusable(lines.into_iter().map(Complaint::plain).collect())
    }
}
