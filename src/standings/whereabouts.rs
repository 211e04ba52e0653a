//! Where the things are that models' resources keep, as far as this process has seen them made.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use quick_cache::sync::Cache;

use crate::llm::stored::{ID_MAX, base};
use crate::llm::{Plan, Provider};

/// Ids that are remembered at most: about 20 MB, when all of them are long.
const IDS_MAX: usize = 100_000;

/// One for the process: what one plugin has uploaded another one makes a batch of. It takes memory
/// when the first id is learnt, and then forgets those that nobody asks for.
#[derive(Default)]
pub struct Whereabouts {
    /// The key of a target is in a resource's number, so nobody else can make one.
    hasher: RandomState,
    ids: OnceLock<Cache<Box<str>, Resource>>,
}

/// A place where things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resource(u64);

impl Whereabouts {
    /// Where a target keeps things; `None` where each client says to which host its requests go.
    ///
    /// On Azure they belong to the resource, whoever asks; elsewhere to the account of the key.
    pub fn resource(&self, plan: &Plan) -> Option<Resource> {
        let endpoint = plan.endpoint()?;
        let secrets = if plan.provider() == Provider::Azure { Vec::new() } else { plan.secrets() };
        let secrets: Vec<&str> = secrets.iter().map(|secret| secret.expose()).collect();
        let base = base(plan.sample_path().unwrap_or_default());
        Some(Resource(self.hasher.hash_one((&*endpoint.host, endpoint.port, base, secrets))))
    }

    /// A resource has made this, or has it. What is too long for an id is none.
    pub fn learn(&self, id: &str, resource: Resource) {
        if id.len() <= ID_MAX {
            self.ids.get_or_init(|| Cache::new(IDS_MAX)).insert(id.into(), resource);
        }
    }

    /// Whether nothing is known of anything.
    pub fn is_empty(&self) -> bool {
        self.ids.get().is_none()
    }

    /// Where this is, if anybody knows.
    pub fn find(&self, id: &str) -> Option<Resource> {
        self.ids.get()?.get(id)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::llm::config::ResponseStreaming;
    use crate::llm::config::tests::target;

    #[test]
    fn a_resource_is_its_host_and_elsewhere_than_on_azure_its_key_too() {
        let whereabouts = Whereabouts::default();
        let of = |provider: &str, route_type: &str, key: &str, url: &str| {
            let auth = json!({"header_name": "api-key", "header_value": key});
            let model = json!({"provider": provider});
            let mut target = target(auth, json!({"upstream_url": url}), model);
            target.route_type = serde_json::from_value(json!(route_type)).unwrap();
            whereabouts.resource(&Plan::new(&target, ResponseStreaming::Allow).unwrap())
        };
        let one = |key| of("azure", "llm/v1/files", key, "https://a.test/one/openai/files");
        assert!(one("k1").is_some());
        assert_eq!(one("k1"), one("k2"));
        let batches = of("azure", "llm/v1/batches", "k", "https://a.test/one/openai/v1/batches");
        assert_eq!(one("k1"), batches);
        for other in ["https://a.test/two/openai/files", "https://b.test/one/openai/files"] {
            assert_ne!(one("k1"), of("azure", "llm/v1/files", "k1", other), "{other}");
        }
        let openai = |key| of("openai", "llm/v1/files", key, "https://a.test/v1/files");
        assert_eq!(openai("k1"), openai("k1"));
        assert_ne!(openai("k1"), openai("k2"));
        let theirs = "https://a.test/$(headers.x-path)/files";
        assert_eq!(of("azure", "llm/v1/files", "k1", theirs), None);
    }

    #[test]
    fn ids_are_found_where_they_were_made_and_their_number_is_bounded() {
        let (whereabouts, one, two) = (Whereabouts::default(), Resource(1), Resource(2));
        assert!(whereabouts.is_empty() && whereabouts.find("a").is_none());
        whereabouts.learn("a", one);
        whereabouts.learn("b", two);
        assert_eq!((whereabouts.find("a"), whereabouts.find("b")), (Some(one), Some(two)));
        whereabouts.learn("a", two);
        assert_eq!(whereabouts.find("a"), Some(two), "the last word counts");
        let long = "x".repeat(ID_MAX + 1);
        whereabouts.learn(&long, one);
        assert_eq!(whereabouts.find(&long), None);
        (0..IDS_MAX + 5000).for_each(|n| whereabouts.learn(&n.to_string(), one));
        assert!(whereabouts.ids.get().unwrap().len() <= IDS_MAX);
    }
}
