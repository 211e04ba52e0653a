//! Regular expressions of Kong's AI plugins: PCRE, on bytes, as `ngx.re` runs them.

use pcre2::bytes::{Regex, RegexBuilder};

/// An expression of the configuration. One that cannot be compiled fails when it is used (Kong).
pub(super) struct Pattern {
    /// As it was configured.
    pub(super) text: String,
    regex: Result<Regex, String>,
}

/// What `ngx.re` calls `i` and `m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flags {
    /// Neither.
    None,
    /// Both.
    CaselessLines,
}

impl Pattern {
    pub(super) fn new(text: &str, flags: Flags) -> Self {
        let set = flags == Flags::CaselessLines;
        let mut builder = RegexBuilder::new();
        builder.jit_if_available(true).caseless(set).multi_line(set);
        let regex = builder.build(text).map_err(|error| format!("{error}"));
        Self { text: text.to_owned(), regex }
    }

    /// What is wrong with it.
    pub(super) fn fault(&self) -> Option<&str> {
        self.regex.as_ref().err().map(String::as_str)
    }

    /// The first part of the subject that it matches.
    ///
    /// # Errors
    /// It cannot be compiled, or runs into the limits of PCRE.
    pub(super) fn find<'s>(&self, subject: &'s [u8]) -> Result<Option<&'s [u8]>, String> {
        let found = self.regex.as_ref().map_err(Clone::clone)?.find(subject);
        let found = found.map_err(|error| error.to_string())?;
        Ok(found.map(|found| &subject[found.start()..found.end()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_those_of_pcre() {
        let finds = |pattern: &str, subject: &str| {
            let found = Pattern::new(pattern, Flags::None).find(subject.as_bytes()).unwrap();
            found.is_some()
        };
        assert!(finds(r"(?<!un)safe", "is it safe") && !finds(r"(?<!un)safe", "unsafe"));
        assert!(finds(r"(a)\1", "xaay") && !finds("^b", "a\nb") && !finds("A", "a"));
        let lines = Pattern::new("^b.", Flags::CaselessLines);
        assert_eq!(lines.find(b"a\nBC\n"), Ok(Some(&b"BC"[..])));
        let bad = Pattern::new("[]", Flags::None);
        assert!(bad.fault().is_some() && bad.find(b"").is_err());
    }
}
