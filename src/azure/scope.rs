//! Clouds and audiences: which authority and which scope a target's host asks for.
//!
//! A token for the wrong audience is the first thing that breaks, so the default follows the host
//! name and the path: `*.services.ai.azure.com` (Foundry) and the v1 API (`/openai/v1`) take
//! `ai.azure.com`, everything else the Cognitive Services of its cloud. Microsoft publishes no
//! sovereign form of `ai.azure.com`.

use url::Url;

/// A separate world of Azure, with its own login and its own audiences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cloud {
    Public,
    UsGovernment,
    China,
}

impl Cloud {
    /// The cloud of a target, `host` or `host/path`, by the suffix of its host; `None` for a name
    /// outside Azure.
    pub(super) fn of_target(target: &str) -> Option<Self> {
        let host = plain_host(target);
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

    /// The scope for a target of this cloud, `host` or `host/path`.
    pub(super) fn scope(self, target: &str) -> &'static str {
        match self {
            Self::Public if takes_ai_token(target) => "https://ai.azure.com/.default",
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

/// Whether a login host belongs to one of the clouds of 2026 (Bleu in France, Delos in Germany,
/// Singapore), for which Microsoft has published no audience.
pub(super) fn is_without_audience(authority: &Url) -> bool {
    let host = authority.host_str().unwrap_or_default();
    let country = host.strip_prefix("login.sovcloud-identity.");
    country.is_some_and(|country| matches!(country, "fr" | "de" | "sg"))
}

/// Whether Microsoft's documents of 2026 ask for `ai.azure.com` here: Foundry, and the v1 API on
/// any host of Azure's.
fn takes_ai_token(target: &str) -> bool {
    let host = plain_host(target);
    let (_, path) = target.split_once('/').unwrap_or_default();
    let is_v1 = path == "openai/v1" || path.starts_with("openai/v1/");
    host.ends_with(".services.ai.azure.com") || is_v1 && host.ends_with(".azure.com")
}

/// A target's host in lower case, without its port and the root's dot.
fn plain_host(target: &str) -> String {
    let host = target.split('/').next().unwrap_or_default();
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    name.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(target: &str) -> &'static str {
        Cloud::of_target(target).unwrap_or(Cloud::Public).scope(target)
    }

    #[test]
    fn scope_follows_host_and_path() {
        for (host, audience) in [
            ("foo.openai.azure.com", "https://cognitiveservices.azure.com/.default"),
            ("FOO.OpenAI.Azure.Com.:443", "https://cognitiveservices.azure.com/.default"),
            ("foo.services.ai.azure.com", "https://ai.azure.com/.default"),
            ("evilservices.ai.azure.com", "https://cognitiveservices.azure.com/.default"),
            ("foo.openai.azure.com/openai/v1/chat/completions", "https://ai.azure.com/.default"),
            ("foo.services.ai.azure.com/models", "https://ai.azure.com/.default"),
            ("foo.services.ai.azure.com/anthropic/v1/messages", "https://ai.azure.com/.default"),
            (
                "foo.openai.azure.com/openai/deployments/openai/v1/chat/completions",
                "https://cognitiveservices.azure.com/.default",
            ),
            ("foo.openai.azure.com/openai/v10/x", "https://cognitiveservices.azure.com/.default"),
            ("foo.openai.azure.us/openai/v1/x", "https://cognitiveservices.azure.us/.default"),
            ("gateway.contoso.example/openai/v1/x", "https://cognitiveservices.azure.com/.default"),
            ("foo.openai.azure.us", "https://cognitiveservices.azure.us/.default"),
            ("foo.openai.azure.cn", "https://cognitiveservices.azure.cn/.default"),
            ("gateway.contoso.example", "https://cognitiveservices.azure.com/.default"),
        ] {
            assert_eq!(scope(host), audience, "{host}");
        }
    }

    #[test]
    fn only_the_new_clouds_have_no_audience() {
        let is_bare =
            |host: &str| is_without_audience(&Url::parse(&format!("https://{host}/")).unwrap());
        assert!(is_bare("login.sovcloud-identity.fr") && is_bare("login.sovcloud-identity.sg"));
        assert!(!is_bare("login.microsoftonline.de") && !is_bare("login.microsoftonline.com"));
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
