//! What Azure AI Content Safety finds in a text, and what of it is too much.

use std::fmt;

use serde::Deserialize;

/// Its answer to `text:analyze`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Analysis {
    #[serde(default)]
    categories_analysis: Vec<Severity>,
    #[serde(default)]
    blocklists_match: Vec<Match>,
}

#[derive(Debug, Deserialize)]
struct Severity {
    category: String,
    /// Nothing where blocklists ended the analysis.
    severity: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Match {
    blocklist_name: String,
}

/// Why a text is refused, in Kong's words.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// A blocklist has one of its words.
    Blocklist(String),
    /// A category at a level that is refused.
    Category(String, u64),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocklist(name) => write!(f, "breached blocklist [{name}]"),
            Self::Category(name, level) => {
                write!(f, "breached category [{name}] at level {level}")
            }
        }
    }
}

impl Analysis {
    pub(super) fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }

    /// The level of each category.
    pub(super) fn severities(&self) -> impl Iterator<Item = (&str, u64)> {
        let levels = self.categories_analysis.iter();
        levels.filter_map(|one| Some((one.category.as_str(), one.severity?)))
    }

    /// The first thing that is too much: a hit of a blocklist, or a category at its level.
    pub(super) fn finding<'a>(
        &self,
        mut levels: impl Iterator<Item = (&'a str, u64)>,
    ) -> Option<Finding> {
        if let Some(hit) = self.blocklists_match.first() {
            return Some(Finding::Blocklist(hit.blocklist_name.clone()));
        }
        levels.find_map(|(name, level)| {
            let mut found = self.severities().filter(|(category, _)| *category == name);
            let severity = found.find(|(_, severity)| *severity >= level)?.1;
            Some(Finding::Category(name.to_owned(), severity))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(answer: &str, levels: &[(&str, u64)]) -> Option<String> {
        let analysis = Analysis::read(answer.as_bytes()).unwrap();
        analysis.finding(levels.iter().copied()).map(|finding| finding.to_string())
    }

    #[test]
    fn a_level_is_refused_from_there_on() {
        let answer = r#"{"blocklistsMatch":[],"categoriesAnalysis":[
            {"category":"Hate","severity":2},{"category":"Violence","severity":0}]}"#;
        let told = Some("breached category [Hate] at level 2".to_owned());
        assert_eq!(finding(answer, &[("Violence", 1), ("Hate", 2)]), told);
        assert_eq!(finding(answer, &[("Hate", 1)]), told);
        assert_eq!(finding(answer, &[("Hate", 3)]), None);
        assert_eq!(finding(answer, &[("Sexual", 0)]), None);
        assert!(finding(answer, &[("Violence", 0)]).is_some());
    }

    #[test]
    fn a_hit_of_a_blocklist_is_refused_whatever_the_levels() {
        let answer = r#"{"blocklistsMatch":[{"blocklistName":"names","blocklistItemId":"1",
            "blocklistItemText":"x"}],"categoriesAnalysis":[{"category":"Hate"}]}"#;
        assert_eq!(finding(answer, &[]).as_deref(), Some("breached blocklist [names]"));
    }
}
