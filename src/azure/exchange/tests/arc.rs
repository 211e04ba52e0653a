//! Azure Arc's row of the identity matrix, against the simulator: its key files are read from one
//! folder only, which no variable moves, so no gateway of `tests/it` can have one of its own.

use super::*;
use crate::azure::source::AzureArc;
use crate::sim::{Expiry, Kind, Options, Recorded, Rule, Sim};

/// The class and the status of a failure, and parts of its line.
type Fails = (Class, Option<u16>, &'static [&'static str]);

struct Scene {
    sim: Sim,
    identity: Arc<Identity>,
    _keys: tempfile::TempDir,
}

impl Scene {
    fn new(selector: Selector, options: Options) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let arc_key_folder = Some(keys.path().to_owned());
        let sim = Sim::start(Options { arc_key_folder, ..options }).unwrap();
        let url = format!("{}/arc/metadata/identity/oauth2/token", sim.url());
        let from = Origin::Variable("IDENTITY_ENDPOINT");
        let endpoint = Given { value: url.parse().unwrap(), from };
        let source = AzureArc { endpoint, selector, keys: keys.path().to_owned() };
        Self { sim, identity: mock::identity(source), _keys: keys }
    }

    /// Runs an exchange, and looks at what it sent.
    async fn exchange(&self, selection: &str) -> Result<Grant, Arc<Failure>> {
        let outcome = exchange_once(&self.identity).await;
        let query = "api-version=2020-06-01&resource=https%3A%2F%2Fcognitiveservices.azure.com";
        for seen in self.sim.requests() {
            assert_eq!((seen.kind, &*seen.method), (Kind::Arc, "GET"), "{seen:?}");
            assert_eq!(seen.query, format!("{query}{selection}"));
            assert_eq!(seen.header("metadata"), Some("true"));
            assert_eq!(seen.header("x-forwarded-for"), None);
        }
        outcome
    }

    /// Which of the calls showed a key.
    fn with_key(&self) -> Vec<bool> {
        let has_key = |seen: &Recorded| seen.header("authorization").is_some();
        self.sim.requests().iter().map(has_key).collect()
    }
}

fn client_id(id: &str) -> Selector {
    Selector::ClientId(Given { value: id.to_owned(), from: Origin::Field("azure_client_id") })
}

#[tokio::test]
async fn arc_gives_a_token_for_the_key_that_it_asked_for() {
    for (selector, selection, who) in [
        (Selector::System, "", "system-assigned"),
        (client_id("AbC"), "&client_id=AbC", "client id AbC"),
    ] {
        let scene = Scene::new(selector, Options::default());
        let grant = scene.exchange(selection).await.unwrap();
        assert!(grant.access_token.expose().starts_with("sim-token-1-"));
        assert_eq!(scene.with_key(), [false, true]);
        let identity = format!("azure arc managed identity ({who})");
        assert_eq!(scene.sim.last().unwrap().identity, identity);
    }
}

#[tokio::test]
async fn arc_understands_every_form_of_an_expiry() {
    for (expiry, lifetime_secs) in [
        (Expiry::Integer, 240),
        (Expiry::String, 240),
        (Expiry::IsoDate, 240),
        (Expiry::UsDate, 240),
        (Expiry::WindowsDate, 86_000),
    ] {
        let scene = Scene::new(Selector::System, Options::default());
        let token_lifetime_secs = Some(lifetime_secs);
        let rule = Rule { expiry: Some(expiry), token_lifetime_secs, ..Rule::default() };
        scene.sim.fault(rule).unwrap();
        let grant = scene.exchange("").await.unwrap();
        let secs = grant.lifetime.as_secs();
        assert!(secs.abs_diff(lifetime_secs) <= 1, "{expiry:?}: {secs}");
    }
}

#[tokio::test]
async fn what_fails_at_arc_is_told() {
    let named = |fault: &str| Rule { fault: Some(fault.into()), ..Rule::default() };
    let answered = |rule: Rule| Rule { skip: 1, ..rule };
    let html = &["what answers is not a token endpoint"][..];
    let portal = &["a redirect was answered, and a secret follows none"][..];
    let throttled = &["the endpoint throttles this client"][..];
    let key_refused = &["does not take the key that it asked for", "azcmagent show"][..];
    let cases: Vec<(Rule, usize, Fails)> = vec![
        (named("fault-portal"), 1, (Class::Protocol, Some(302), portal)),
        (answered(named("fault-portal")), 2, (Class::Protocol, Some(302), portal)),
        (answered(named("fault-html")), 2, (Class::Unavailable, Some(200), html)),
        (named("fault-429-8"), 1, (Class::Transient, Some(429), throttled)),
        (answered(named("fault-429-8")), 2, (Class::Transient, Some(429), throttled)),
        (named("fault-410"), 1, (Class::Config, Some(410), &["the endpoint refused"])),
        (answered(named("fault-401")), 2, (Class::Config, Some(401), key_refused)),
        (
            Rule { expiry: Some(Expiry::Missing), ..Rule::default() },
            2,
            (Class::Protocol, Some(200), &["no readable expires_on or expires_in"]),
        ),
    ];
    for (rule, calls, (class, status, says)) in cases {
        let scene = Scene::new(Selector::System, Options::default());
        let what = format!("{rule:?}");
        scene.sim.fault(rule).unwrap();
        let failure = scene.exchange("").await.unwrap_err();
        let line = failure.to_string();
        assert_eq!((failure.cause.class, failure.cause.status), (class, status), "{what}: {line}");
        assert_eq!(scene.with_key().len(), calls, "{what}: {line}");
        for part in says.iter().chain(&["managed identity (Azure Arc)", "attempts 1"]) {
            assert!(line.contains(part), "{what}: '{part}' is not in: {line}");
        }
    }
}

#[tokio::test]
async fn an_identity_that_arc_does_not_have_is_named() {
    let scene = Scene::new(client_id("unknown-1"), Options::default());
    let failure = scene.exchange("&client_id=unknown-1").await.unwrap_err();
    assert_eq!((failure.cause.class, failure.cause.status), (Class::NotAssigned, Some(400)));
    assert!(failure.to_string().contains("client id unknown-1"), "{failure}");

    let scene = Scene::new(client_id("a"), Options { arc_is_old: true, ..Options::default() });
    let failure = scene.exchange("&client_id=a").await.unwrap_err();
    assert_eq!(failure.cause.class, Class::NotAssigned);
    assert!(failure.to_string().contains("of another identity than client id a"), "{failure}");
    assert!(!failure.to_string().contains("sim-token-"), "{failure}");
}

#[tokio::test]
async fn passing_failures_of_arc_are_repeated_with_a_new_challenge() {
    let scene = Scene::new(Selector::System, Options::default());
    let rule = Rule { status: Some(500), skip: 1, times: Some(1), ..Rule::default() };
    scene.sim.fault(rule).unwrap();
    assert!(scene.exchange("").await.is_ok());
    assert_eq!(scene.with_key(), [false, true, false, true]);
}
