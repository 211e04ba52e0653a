//! The recordings of the AI plugins once more, with Kong's own plugins in place of ours.
//!
//! `SILVERBACK_KONG_CHECKOUT` names a checkout of Kong, of which nothing is in this repository.
//! Without it this says that it was skipped, and proves nothing.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::case::Case;
use super::lists::show;
use super::replay_all;

/// What of a checkout the AI plugins are: Kong has code that they share.
const PARTS: [&str; 8] = [
    "llm",
    "tools/aws_stream.lua",
    "plugins/ai-proxy",
    "plugins/ai-prompt-decorator",
    "plugins/ai-prompt-guard",
    "plugins/ai-prompt-template",
    "plugins/ai-request-transformer",
    "plugins/ai-response-transformer",
];

/// Cases that are not as recorded, which is no fault of the plugins.
const OTHERWISE: [(&str, &str); 8] = [
    ("ai-log-off", "log records do not show the keys of upstreams"),
    ("ai-log-payloads", "log records do not show the keys of upstreams"),
    ("ai-log-statistics", "log records do not show the keys of upstreams"),
    ("ai-preserve-noname", "a failing plugin is a 500, and not a client that waits for ever"),
    ("ai-stream-upstream-json-accept-sse", "a failing plugin is a 500, and no closed connection"),
    ("ai-stream-truncated", "nginx sends the last piece of a broken stream twice"),
    ("ai-tmpl-header", "which of two missing variables is named is random in Kong"),
    ("ai-prometheus", "its metrics are those of Kong's prometheus plugin, and this one is ours"),
];

#[test]
fn recordings_hold_for_the_ai_plugins_of_kong_itself() {
    let Some(checkout) = std::env::var_os("SILVERBACK_KONG_CHECKOUT").map(PathBuf::from) else {
        writeln!(std::io::stderr(), "skipped, SILVERBACK_KONG_CHECKOUT is not set").unwrap();
        return;
    };
    let lua = tempfile::tempdir().unwrap();
    for part in PARTS {
        link(&checkout.join("kong").join(part), &lua.path().join("kong").join(part));
    }
    let start = std::env::var("GOLDEN").unwrap_or_else(|_| "ai-".to_owned());
    let is_meant = |case: &Case| case.name.starts_with("ai-") && case.name.starts_with(&start);
    let cases: Vec<_> = Case::all().into_iter().filter(is_meant).collect();
    let mut faults = Vec::new();
    for (case, differences) in cases.iter().zip(replay_all(&cases, Some(lua.path()))) {
        let complaints: Vec<_> = differences.iter().map(show).collect();
        if OTHERWISE.iter().any(|(name, _)| *name == case.name) {
            continue;
        }
        if !complaints.is_empty() {
            faults.push(format!("{}\n    {}", case.name, complaints.join("\n    ")));
        }
    }
    assert!(faults.is_empty(), "{} cases:\n{}", faults.len(), faults.join("\n"));
}

fn link(original: &Path, link: &Path) {
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    symlink(original, link).unwrap();
}
