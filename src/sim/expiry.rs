//! How a token reply says when the token ends: the endpoint's own way, or one that a rule asks for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clock;

/// A form of `expires_on` and `expires_in`. All of them have been seen at some endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// No member says anything.
    Missing,
    /// Both, as JSON numbers.
    Integer,
    /// Both, as numbers in strings.
    String,
    /// `expires_on` alone: `2026-11-20T12:00:00.0000000+00:00`.
    IsoDate,
    /// `expires_on` alone: `11/20/2026 12:00:00 +00:00`, as App Service writes on Linux.
    UsDate,
    /// `expires_on` alone: `11/20/2026 2:05:09 PM +00:00`, as App Service writes on Windows.
    WindowsDate,
}

const MEMBERS: [&str; 5] =
    ["expires_in", "ext_expires_in", "expires_on", "not_before", "refresh_in"];

impl Expiry {
    /// Says it in this way about a token that lives for so long from now on.
    pub(super) fn rewrite(self, reply: &mut Value, life_secs: u64) {
        if let Some(members) = reply.as_object_mut() {
            members.retain(|name, _| !MEMBERS.contains(&name.as_str()));
        }
        let epoch = clock::now_secs().saturating_add(life_secs);
        match self {
            Self::Missing => {}
            Self::Integer => {
                reply["expires_in"] = life_secs.into();
                reply["expires_on"] = epoch.into();
            }
            Self::String => {
                reply["expires_in"] = life_secs.to_string().into();
                reply["expires_on"] = epoch.to_string().into();
            }
            Self::IsoDate => reply["expires_on"] = clock::iso(epoch).into(),
            Self::UsDate => reply["expires_on"] = clock::app_service_2017(epoch).into(),
            Self::WindowsDate => reply["expires_on"] = clock::windows(epoch).into(),
        }
    }
}
