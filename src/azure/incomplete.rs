//! Why no identity can be chosen, in the names that the fields have where they are written down.

use std::borrow::Cow;
use std::fmt;

use super::identity::Origin;

/// Why no identity could be chosen; the text names the field and the variable that fix it.
///
/// `Display` has the names of the fields in an `auth` record, [`Incomplete::told`] those of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incomplete {
    /// Part of a credential is there and this value is not.
    Missing {
        /// The plugin's field.
        field: &'static str,
        /// The variable that may give it instead.
        variable: &'static str,
        /// What asks for it.
        because: Prose,
    },
    /// A value cannot be what it claims to be.
    Invalid {
        /// Who gave the value.
        from: Origin,
        /// What is wrong with it.
        problem: Prose,
    },
    /// Two fields ask for two different identities.
    Conflict {
        /// One field.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// Two fields prove the same application.
    TwoProofs {
        /// One field.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// The environment asks for something that this gateway does not speak.
    Unsupported {
        /// What it is, as Microsoft calls it.
        what: &'static str,
        /// The variable that gave it away.
        sign: &'static str,
        /// What works instead.
        remedy: Prose,
    },
    /// The machine serves managed identities, but none by this kind of name.
    Nameless {
        /// Who gave the name.
        from: Origin,
        /// Where it is.
        platform: &'static str,
        /// What works instead.
        remedy: Prose,
    },
}

impl std::error::Error for Incomplete {}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(&|field| format!("auth.{field}")))
    }
}

impl Incomplete {
    pub(super) fn invalid(from: Origin, problem: impl Into<Prose>) -> Self {
        Self::Invalid { from, problem: problem.into() }
    }

    /// The reason for somebody to whom the fields (`azure_client_id`) have these names.
    pub fn told(&self, name: &dyn Fn(&str) -> String) -> String {
        match self {
            Self::Missing { field, variable, because } => {
                let (set, because) = (name(field), because.told(name));
                format!("{field} is missing (set {set} or {variable}; {because})")
            }
            Self::Invalid { from, problem } => {
                format!("{}: {}", from.told(name), problem.told(name))
            }
            Self::Conflict { first, second } => {
                let (first, second) = (name(first), name(second));
                format!("{first} and {second} name different identities (remove one of them)")
            }
            Self::TwoProofs { first, second } => {
                let (first, second) = (name(first), name(second));
                let what = "each prove who the application is (remove one of them)";
                format!("{first} and {second} {what}")
            }
            Self::Unsupported { what, sign, remedy } => {
                let remedy = remedy.told(name);
                format!("{sign} asks for {what}, which is not supported ({remedy})")
            }
            Self::Nameless { from, platform, remedy } => {
                let (from, remedy) = (from.told(name), remedy.told(name));
                format!("{from}: {platform} knows no such name for an identity ({remedy})")
            }
        }
    }
}

/// A text in which fields may be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prose(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Cow<'static, str>),
    From(Origin),
}

impl From<&'static str> for Prose {
    fn from(text: &'static str) -> Self {
        Self(vec![Part::Text(text.into())])
    }
}

impl From<String> for Prose {
    fn from(text: String) -> Self {
        Self(vec![Part::Text(text.into())])
    }
}

impl Prose {
    /// Begins with who gave a value.
    pub(super) fn of(from: Origin) -> Self {
        Self(vec![Part::From(from)])
    }

    /// Goes on with a field.
    pub(super) fn field(mut self, field: &'static str) -> Self {
        self.0.push(Part::From(Origin::Field(field)));
        self
    }

    /// Goes on with words.
    pub(super) fn words(mut self, words: &'static str) -> Self {
        self.0.push(Part::Text(words.into()));
        self
    }

    fn told(&self, name: &dyn Fn(&str) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.to_string(),
            Part::From(from) => from.told(name),
        };
        self.0.iter().map(part).collect()
    }
}
