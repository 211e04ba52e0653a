//! An identity: who the gateway is to Azure, where its tokens come from, and why it was chosen.
//!
//! Every value keeps its origin, because "which identity is this, and who said so" is the first
//! question when Azure answers 401. Secrets are in it, but nothing here prints them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::source::{ProofFile, Source};

/// What a target signs in as: decided by [`super::resolve`], never changed afterwards.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(super) source: Arc<dyn Source>,
    pub(super) scope: Given<String>,
    pub(super) why: String,
    /// What was set and not used, in sentences an operator can act on.
    pub(super) notes: Vec<String>,
}

/// A value and who gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Given<T> {
    pub(super) value: T,
    pub(super) from: Origin,
}

impl<T> Given<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Given<U> {
        Given { value: change(self.value), from: self.from }
    }
}

impl Given<String> {
    /// A value that Azure documents and nobody had to give.
    pub(super) fn nobodys(value: &str) -> Self {
        Self { value: value.to_owned(), from: Origin::Default }
    }
}

/// Who gave a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A field of the plugin's `auth` record.
    Field(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// The suffix of the target's host name.
    Host,
    /// Nobody: Azure's own default.
    Default,
}

/// One line of an identity's description, for logs and the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// What it is, such as `client id`.
    pub name: &'static str,
    /// Its value, or `***` for a secret.
    pub value: String,
    /// Who gave it.
    pub from: Origin,
}

/// What makes two identities the same: equal keys share one token.
///
/// A digest over source, authority, tenant, client, selector, scope and the secret's own digest,
/// so that a rotated secret has a place of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Identity {
    /// The kind of identity, as documentation names it.
    pub fn kind(&self) -> &'static str {
        self.source.about().kind
    }

    /// The scope that is asked for: `<resource>/.default`.
    pub fn scope(&self) -> &str {
        &self.scope.value
    }

    /// The address that gives out the token, without path and query.
    pub fn endpoint(&self) -> String {
        self.source.about().endpoint.value.origin().ascii_serialization()
    }

    /// Everything that was decided and who decided it; secrets are `***`.
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts = self.source.about().facts();
        facts.push(Fact::new("scope", &self.scope.value, self.scope.from));
        facts
    }

    /// Whose token it is, in a few words: `client id a, tenant b` or `system-assigned`.
    pub fn subject(&self) -> String {
        self.source.about().who.to_string()
    }

    /// Why this source and no other: what was found, in one clause without secrets.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// What was set and is not used, and why; worth a line in the start log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The key under which all holders of this identity share a token.
    pub fn key(&self) -> Key {
        let mut digest = Sha256::new();
        let mut add = |part: &[u8]| {
            digest.update((part.len() as u64).to_be_bytes()); // "ab","c" is not "a","bc"
            digest.update(part);
        };
        add(self.kind().as_bytes());
        for fact in self.facts() {
            add(fact.name.as_bytes());
            add(fact.value.as_bytes());
        }
        for hidden in self.source.about().hidden {
            add(&Sha256::digest(hidden));
        }
        Key(digest.finalize().into())
    }

    /// What an identity has in common with those that differ from it in nothing but their proof:
    /// kind, authority, tenant, client, selector and scope.
    pub(super) fn lineage(&self) -> Key {
        let mut digest = Sha256::new();
        let mut add = |part: &str| {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        };
        let about = self.source.about();
        add(about.kind);
        for fact in about.who_facts() {
            add(fact.name);
            add(&fact.value);
        }
        add(&self.scope.value);
        Key(digest.finalize().into())
    }

    /// The files that hold the proof, for whoever watches them.
    pub(super) fn files(&self) -> Vec<&Path> {
        self.source.about().file.map(ProofFile::path).into_iter().collect()
    }

    /// Whether a changed file means a new proof. A kubelet rewrites its token files all the time.
    pub(super) fn is_rotated_by_file(&self) -> bool {
        !matches!(self.source.about().file, Some(ProofFile::Renewed(_)))
    }
}

impl fmt::Display for Identity {
    /// `client secret: client id a (auth.azure_client_id), tenant ...`; never a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.kind())?;
        for (i, fact) in self.facts().iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma} {fact}")?;
        }
        Ok(())
    }
}

impl Fact {
    pub(super) fn new(name: &'static str, value: impl fmt::Display, from: Origin) -> Self {
        Self { name, value: value.to_string(), from }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.name, self.value, self.from)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(&|field| format!("auth.{field}")))
    }
}

impl Origin {
    /// What it is for somebody to whom fields have these names.
    pub(super) fn told(self, name: &dyn Fn(&str) -> String) -> String {
        match self {
            Self::Field(field) => name(field),
            Self::Variable(variable) => variable.to_owned(),
            Self::Host => "the target's host".to_owned(),
            Self::Default => "default".to_owned(),
        }
    }
}
