//! Every source of a token in every situation: what goes over the wire to the token endpoint, how
//! often, what Azure OpenAI sees, what the client gets, and what the operator reads.
//!
//! [`cells`] is the table. Situations in which a source waits for long are in
//! `src/azure/exchange/tests/matrix.rs`, under a paused clock; the table says so.

mod cells;
mod sources;

use serde_json::Value;
use silverback::sim::{Kind, Recorded, Rule, Sim};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use self::cells::{Cell, Fails, cell};
use self::sources::{Scenery, Source, Wire};
use super::azure_scene::{HELLO, Target, assert_chat};
use super::gateway::{Builder, TestGateway};
use super::http::{self, Message};
use super::log_lines::{self, Mark};

/// What may happen to a request for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Situation {
    Ok,
    WrongSecret,
    IdentityNotFound,
    SeveralIdentities,
    Down,
    Dropped,
    Slow,
    FailsTwice,
    Gone,
    Throttled,
    Html,
    Portal,
    NoExpiry,
    IntegerExpiry,
    StringExpiry,
    IsoExpiry,
    UsExpiry,
    WindowsExpiry,
    ExpiringSoon,
    RotatedFile,
}

use Situation as S;

const SITUATIONS: [Situation; 20] = [
    S::Ok,
    S::WrongSecret,
    S::IdentityNotFound,
    S::SeveralIdentities,
    S::Down,
    S::Dropped,
    S::Slow,
    S::FailsTwice,
    S::Gone,
    S::Throttled,
    S::Html,
    S::Portal,
    S::NoExpiry,
    S::IntegerExpiry,
    S::StringExpiry,
    S::IsoExpiry,
    S::UsExpiry,
    S::WindowsExpiry,
    S::ExpiringSoon,
    S::RotatedFile,
];

/// Runs a row; a cell that fails is named in what its panic prints.
async fn row(source: Source) {
    log_lines::keep();
    let mut running = JoinSet::new();
    let mut told = 0;
    for situation in SITUATIONS {
        match cell(source, situation) {
            Cell::Runs(wanted) => drop(running.spawn(run(source, situation, wanted))),
            Cell::Senseless(reason) | Cell::UnderAPausedClock(reason) => {
                assert!(!reason.is_empty());
                told += 1;
            }
        }
    }
    assert!(running.len() >= 12 && running.len() + told == SITUATIONS.len());
    let mut failed = Vec::new();
    while let Some(ended) = running.join_next().await {
        failed.extend(ended.err());
    }
    assert!(failed.is_empty(), "{} cells of {source:?} failed: see above", failed.len());
}

async fn run(source: Source, situation: Situation, wanted: Result<usize, Fails>) {
    let what = format!("{source:?}, {situation:?}");
    let scene = Scene::start(source, situation);
    let address = scene.gateway.address;
    let headers = [("Content-Type", "application/json")];
    let hello = || http::send(address, "POST", "/chat", &headers, HELLO.as_bytes());
    let first = hello().await;
    scene.between(situation);
    let second = hello().await;
    scene.assert_wire(&what);
    match wanted {
        Ok(calls) => {
            assert_chat(&first, &what);
            assert_chat(&second, &what);
            assert_eq!(scene.exchanges().len(), calls, "{what}: calls");
            scene.assert_tokens(&what);
            if situation == S::RotatedFile {
                scene.scenery.assert_rotated(&scene.exchanges()[1]);
            }
            scene.assert_log_of_success(&what);
        }
        Err(fails) => {
            scene.assert_failure(&first, &what);
            scene.assert_failure(&second, &what);
            scene.assert_log_of_failure(&fails, &what);
        }
    }
}

/// A simulator, a gateway, and what the source brought along.
struct Scene {
    began: Mark,
    // Dropped before the simulator, so that it cannot meet the next one on the same port.
    gateway: TestGateway,
    sim: Sim,
    scenery: Scenery,
    wire: Wire,
    source: Source,
    _closed: TcpSocket,
}

impl Scene {
    fn start(source: Source, situation: Situation) -> Self {
        let mut scenery = Scenery::new(source);
        scenery.arrange(situation);
        let sim = Sim::start(scenery.options()).unwrap();
        let began = log_lines::mark();
        if let Some(rule) = rule(situation) {
            sim.fault(Rule { kind: Some(Kind::Identity), ..rule }).unwrap();
        }
        let closed = http::closed_port();
        let address = closed.local_addr().unwrap();
        scenery.point_at(&sim, (situation == S::Down).then_some(address));
        let env = scenery.env();
        let builder = env.iter().fold(Builder::default(), |b, (name, value)| b.env(name, value));
        let gateway = builder.start(&Target::with_identity().yaml(&sim.url()));
        let wire = scenery.wire();
        Self { began, sim, gateway, scenery, wire, source, _closed: closed }
    }

    /// What happens between the first request and the second.
    fn between(&self, situation: Situation) {
        if situation == S::RotatedFile {
            self.scenery.rotate();
            self.sim.revoke_tokens();
        }
    }

    fn exchanges(&self) -> Vec<Recorded> {
        let all = self.sim.requests().into_iter();
        all.filter(|seen| seen.kind.is_token_endpoint()).collect()
    }

    fn chats(&self) -> Vec<Recorded> {
        self.sim.requests().into_iter().filter(|seen| seen.kind == Kind::Chat).collect()
    }

    /// Every request for a token is the one that the source has to make, and goes nowhere else.
    fn assert_wire(&self, what: &str) {
        for seen in self.exchanges() {
            self.wire.assert_matches(&seen, what);
        }
        let other = self.sim.requests().into_iter().find(|seen| seen.kind == Kind::Other);
        assert!(other.is_none(), "{what}: {other:?}");
    }

    /// Each chat carried a token of the simulator that stands for this identity.
    fn assert_tokens(&self, what: &str) {
        let answered: Vec<_> = self.chats().into_iter().filter(|seen| seen.status == 200).collect();
        assert_eq!(answered.len(), 2, "{what}: chats");
        for seen in answered {
            assert_eq!(seen.identity, self.scenery.identity(), "{what}");
            let bearer = seen.header("authorization").unwrap_or_default();
            assert!(bearer.starts_with("Bearer sim-token-"), "{what}: {seen:?}");
            assert_eq!(seen.header("api-key"), None, "{what}");
        }
    }

    /// A failure of the gateway: nothing went to Azure, nothing of the cause to the client.
    fn assert_failure(&self, answer: &Message, what: &str) {
        let chats = self.chats();
        assert!(chats.is_empty(), "{what}: called without a token: {chats:?}");
        let text = answer.text();
        assert!((500..=599).contains(&answer.status()), "{what}: {}: {text}", answer.status());
        assert!(answer.json()["error"]["message"].is_string(), "{what}: {text}");
        for header in ["apim-request-id", "x-sim-identity", "www-authenticate", "retry-after"] {
            assert_eq!(answer.header(header), None, "{what}: {header}");
        }
        let said = format!("{:?}{text}", answer.headers);
        let port = self.sim.addr().port().to_string();
        for detail in self.scenery.details().iter().chain([&port, &"AADSTS".to_owned()]) {
            assert!(!said.contains(detail.as_str()), "{what}: {detail} in {said}");
        }
    }

    fn log(&self, level: &str) -> Vec<Value> {
        let lines = log_lines::since(self.began, self.scenery.endpoint());
        for line in &lines {
            let text = line.to_string();
            for secret in self.scenery.secrets() {
                assert!(!text.contains(&secret), "{:?} shows a secret: {text}", self.source);
            }
        }
        let azure = lines.into_iter().filter(|line| {
            let target = line["target"].as_str().unwrap_or_default();
            target.starts_with("silverback::azure") && line["level"] == level
        });
        azure.collect()
    }

    fn assert_log_of_success(&self, what: &str) {
        let failures = self.log("ERROR");
        assert!(failures.is_empty(), "{what}: {failures:?}");
        let told = self.log("INFO").into_iter().filter(|line| {
            let text = line["fields"]["message"].as_str().unwrap_or_default();
            text.starts_with("Azure token for") && text.contains(self.source.kind())
        });
        assert_eq!(told.count(), 1, "{what}: {:?}", self.log("INFO"));
    }

    /// Each exchange that failed is one line, which counts its calls. There is one exchange, unless
    /// so much time passed that a failure which may pass was no longer remembered.
    fn assert_log_of_failure(&self, wanted: &Fails, what: &str) {
        let lines = self.log("ERROR");
        assert!(!lines.is_empty(), "{what}: nothing in the log");
        let may_pass = matches!(wanted.class, "transient" | "unavailable" | "protocol");
        assert!(lines.len() == 1 || may_pass, "{what}: {lines:?}");
        for line in &lines {
            let fields = &line["fields"];
            assert_eq!(fields["source"], self.source.kind(), "{what}: {line}");
            assert_eq!(fields["endpoint"], self.scenery.endpoint(), "{what}: {line}");
            assert_eq!(fields["class"], wanted.class, "{what}: {line}");
            assert_eq!(fields["status"].as_u64(), wanted.status, "{what}: {line}");
            assert_eq!(fields["aadsts"].as_u64(), wanted.aadsts, "{what}: {line}");
            assert_eq!(fields["attempts"], wanted.attempts, "{what}: {line}");
            let text = fields["message"].as_str().unwrap();
            for part in wanted.says {
                assert!(text.contains(part), "{what}: '{part}' is not in: {text}");
            }
        }
        let reached = if wanted.is_reached { lines.len() * wanted.attempts } else { 0 };
        assert_eq!(self.exchanges().len(), reached, "{what}: calls");
    }
}

/// The fault that makes the situation at the token endpoint.
fn rule(situation: Situation) -> Option<Rule> {
    use silverback::sim::Expiry::{Integer, IsoDate, Missing, String, UsDate, WindowsDate};
    let named = |fault: &str| Rule { fault: Some(fault.into()), ..Rule::default() };
    let expiry = |form| Rule { expiry: Some(form), ..Rule::default() };
    Some(match situation {
        S::Ok | S::WrongSecret | S::IdentityNotFound | S::SeveralIdentities => return None,
        S::Down | S::RotatedFile => return None,
        S::Dropped => named("fault-drop"),
        S::Slow => named("fault-slow-300"),
        S::FailsTwice => Rule { times: Some(2), ..named("fault-500") },
        S::Gone => named("fault-410"),
        // More than anybody waits for within one exchange.
        S::Throttled => named("fault-429-8"),
        S::Html => named("fault-html"),
        S::Portal => named("fault-portal"),
        S::NoExpiry => expiry(Missing),
        S::IntegerExpiry => expiry(Integer),
        S::StringExpiry => expiry(String),
        S::IsoExpiry => expiry(IsoDate),
        S::UsExpiry => expiry(UsDate),
        S::WindowsExpiry => expiry(WindowsDate),
        // Below the five minutes in which Microsoft's libraries no longer use a token.
        S::ExpiringSoon => Rule { token_lifetime_secs: Some(240), ..Rule::default() },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn client_secret() {
    row(Source::ClientSecret).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn client_certificate() {
    row(Source::ClientCertificate).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn azure_ml() {
    row(Source::AzureMl).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cloud_shell() {
    row(Source::CloudShell).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn service_fabric() {
    row(Source::ServiceFabric).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workload_identity() {
    row(Source::WorkloadIdentity).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imds() {
    row(Source::Imds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn app_service() {
    row(Source::AppService).await;
}
