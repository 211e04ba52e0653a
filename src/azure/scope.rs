//! Clouds and audiences: which authority and which scope a target's host asks for.
//!
//! A token for the wrong audience is the first thing that breaks, so the default follows the host
//! name: `*.services.ai.azure.com` (Foundry) takes `ai.azure.com`, everything else the Cognitive
//! Services of its cloud. Microsoft publishes no sovereign form of `ai.azure.com`.

use url::Url;

/// A separate world of Azure, with its own login and its own audiences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cloud {
    Public,
    UsGovernment,
    China,
}

impl Cloud {
    /// The cloud of a target, by the suffix of its host; `None` for a name outside Azure.
    pub(super) fn of_host(host: &str) -> Option<Self> {
        let host = plain_host(host);
        let is_under = |suffix: &str| host.ends_with(suffix);
        if is_under(".azure.com") {
            Some(Self::Public)
        } else if is_under(".azure.us") {
            Some(Self::UsGovernment)
        } else if is_under(".azure.cn") {
            Some(Self::China)
        } else {
            None
        }
    }

    /// The cloud of a login host, aliases included; `None` for one that is not Microsoft's.
    pub(super) fn of_authority(authority: &Url) -> Option<Self> {
        match authority.host_str()? {
            "login.microsoftonline.com"
            | "login.windows.net"
            | "login.microsoft.com"
            | "sts.windows.net" => Some(Self::Public),
            "login.microsoftonline.us" | "login.usgovcloudapi.net" => Some(Self::UsGovernment),
            "login.chinacloudapi.cn" | "login.partner.microsoftonline.cn" => Some(Self::China),
            _ => None,
        }
    }

    /// Where this cloud gives out tokens.
    pub(super) fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::UsGovernment => "https://login.microsoftonline.us",
            Self::China => "https://login.chinacloudapi.cn",
        }
    }

    /// The scope for a target of this cloud.
    pub(super) fn scope(self, host: &str) -> &'static str {
        match self {
            Self::Public if plain_host(host).ends_with(".services.ai.azure.com") => {
                "https://ai.azure.com/.default"
            }
            Self::Public => "https://cognitiveservices.azure.com/.default",
            Self::UsGovernment => "https://cognitiveservices.azure.us/.default",
            Self::China => "https://cognitiveservices.azure.cn/.default",
        }
    }
}

/// Whether Azure itself answers for every name that ends like this one, so that a client may fill
/// in the first label and the credential still reaches nobody else.
pub fn is_azures_own(host: &str) -> bool {
    const SUFFIXES: [&str; 7] = [
        ".openai.azure.com",
        ".cognitiveservices.azure.com",
        ".services.ai.azure.com",
        ".openai.azure.us",
        ".cognitiveservices.azure.us",
        ".openai.azure.cn",
        ".cognitiveservices.azure.cn",
    ];
    let host = plain_host(host);
    SUFFIXES.iter().any(|suffix| host.ends_with(suffix))
}

/// The resource of a scope: managed identity endpoints take no `/.default`.
pub(super) fn resource(scope: &str) -> &str {
    scope.strip_suffix("/.default").unwrap_or(scope)
}

/// A host in lower case, without its port and the root's dot.
fn plain_host(host: &str) -> String {
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(host: &str) -> &'static str {
        Cloud::of_host(host).unwrap_or(Cloud::Public).scope(host)
    }

    #[test]
    fn scope_follows_the_host_suffix() {
        for (host, audience) in [
            ("foo.openai.azure.com", "https://cognitiveservices.azure.com/.default"),
            ("FOO.OpenAI.Azure.Com.:443", "https://cognitiveservices.azure.com/.default"),
            ("foo.services.ai.azure.com", "https://ai.azure.com/.default"),
            ("evilservices.ai.azure.com", "https://cognitiveservices.azure.com/.default"),
            ("foo.openai.azure.us", "https://cognitiveservices.azure.us/.default"),
            ("foo.openai.azure.cn", "https://cognitiveservices.azure.cn/.default"),
            ("gateway.contoso.example", "https://cognitiveservices.azure.com/.default"),
        ] {
            assert_eq!(scope(host), audience, "{host}");
        }
    }

    #[test]
    fn azures_own_names_are_whole_labels_under_its_domains() {
        for host in ["a.openai.azure.com", "A.Services.AI.azure.com.", "a.openai.azure.us:443"] {
            assert!(is_azures_own(host), "{host}");
        }
        for host in [
            "evilopenai.azure.com",
            "a.openai.azure.com.evil.example",
            "a.azure-api.net",
            "portal.azure.com",
            "openai.azure.com",
        ] {
            assert!(!is_azures_own(host), "{host}");
        }
    }

    #[test]
    fn resource_loses_one_default_and_nothing_else() {
        assert_eq!(resource("https://ai.azure.com/.default"), "https://ai.azure.com");
        assert_eq!(resource("https://ai.azure.com//.default"), "https://ai.azure.com/");
        assert_eq!(resource("https://ai.azure.com/"), "https://ai.azure.com/");
    }
}
