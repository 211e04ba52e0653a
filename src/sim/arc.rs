//! Azure Arc's agent: IMDS for machines outside Azure, which first wants to see that the caller may
//! read a file that it has just written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde_json::json;
use uuid::Uuid;

use super::call::Call;
use super::metadata::{self, TokenRequest};
use super::state::State;
use super::wire::{Refusal, Reply, header_value};

/// The keys that were written and not yet shown: content and file.
#[derive(Default)]
pub(super) struct ArcKeys {
    files: BTreeMap<String, PathBuf>,
}

/// Challenges that nobody answers are forgotten beyond this.
const KEYS_MAX: usize = 100;

/// What is still to be said before the usual check: a challenge, unless the caller has a key.
pub(super) fn challenge(state: &State, call: &Call) -> Option<Reply> {
    if call.header("metadata") != Some("true") {
        return None; // the check refuses it
    }
    if let Some(shown) = call.header("authorization") {
        let key = shown.strip_prefix("Basic ").unwrap_or_default();
        if state.arc_keys().take(key) {
            return None;
        }
    }
    let Some(folder) = &state.options.arc_key_folder else {
        let text = "the simulator was given no arc_key_folder";
        return Some(failed(text));
    };
    match state.arc_keys().write(folder) {
        Ok(path) => {
            let body = json!({ "error": "unauthorized_client", "error_description":
                "Missing Basic Authorization header" });
            let mut reply = Reply::json(StatusCode::UNAUTHORIZED, &body);
            let realm = header_value(&format!("Basic realm={}", path.display()));
            reply.headers.insert(WWW_AUTHENTICATE, realm);
            Some(reply)
        }
        Err(error) => Some(failed(&format!("{}: {error}", folder.display()))),
    }
}

/// As IMDS. An old agent does not look at who is asked for.
pub(super) fn check(state: &State, call: &Call) -> Result<TokenRequest, Refusal> {
    metadata::imds(state, call, metadata::ARC, state.options.arc_is_old)
}

fn failed(text: &str) -> Reply {
    let body = json!({ "error": "server_error", "error_description": text });
    Reply::json(StatusCode::INTERNAL_SERVER_ERROR, &body)
}

impl ArcKeys {
    /// Writes a new key to a new file.
    fn write(&mut self, folder: &Path) -> io::Result<PathBuf> {
        let key = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let path = folder.join(format!("{}.key", Uuid::new_v4()));
        fs::write(&path, &key)?;
        if self.files.len() >= KEYS_MAX {
            self.forget_one();
        }
        self.files.insert(key, path.clone());
        Ok(path)
    }

    /// Whether the key is one of ours; it works once, and its file goes.
    fn take(&mut self, key: &str) -> bool {
        let Some(path) = self.files.remove(key) else { return false };
        let _ = fs::remove_file(path);
        true
    }

    fn forget_one(&mut self) {
        if let Some((_, path)) = self.files.pop_first() {
            let _ = fs::remove_file(path);
        }
    }
}
