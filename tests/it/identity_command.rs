//! `silverback identity`: what it says in the cases its users meet, and the status it ends with.

mod loading;

use std::path::PathBuf;

use serde_json::Value;
use silverback::sim::{Kind, Options, Rule, Sim};

use super::azure_scene::{CLIENT, TENANT, Target};
use super::cli_process::{Ended, Start, silverback};
use super::http::closed_port;

/// A simulator and a folder with a configuration whose calls go there.
struct Scene {
    sim: Sim,
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(options: Options, yaml: impl FnOnce(&str) -> String) -> Self {
        let sim = Sim::start(options).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kong.yaml"), yaml(&sim.url())).unwrap();
        Self { sim, folder }
    }

    fn of(target: &Target) -> Self {
        Self::new(Options::default(), |sim| target.yaml(sim))
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("kong.yaml")
    }

    /// The command in the folder, with these arguments.
    fn start<'a>(&'a self, arguments: &[&'a str]) -> Start<'a> {
        let arguments: Vec<_> = ["identity"].iter().chain(arguments).copied().collect();
        silverback(&arguments)
            .folder(self.folder.path())
            .env("AZURE_AUTHORITY_HOST", &self.sim.url())
            .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &self.sim.url())
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).ended().await
    }

    async fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let arguments: Vec<_> = ["--json"].iter().chain(arguments).copied().collect();
        let ended = self.run(&arguments).await;
        let report = serde_json::from_str(&ended.output);
        (ended.code, report.unwrap_or_else(|error| panic!("{error}: {}", ended.output)))
    }
}

/// The outcome has this status and these texts, line breaks aside.
#[track_caller]
fn assert_says(ended: &Ended, code: i32, texts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.output);
    let flat = ended.output.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in texts {
        assert!(flat.contains(text), "'{text}' is missing:\n{}", ended.output);
    }
}

fn last_line(ended: &Ended) -> &str {
    ended.output.lines().rfind(|line| !line.starts_with("! ")).unwrap_or_default()
}

fn app() -> Target {
    app_with(&[])
}

fn app_with(proof: &[&str]) -> Target {
    let (client, tenant) =
        (format!("azure_client_id: {CLIENT}"), format!("azure_tenant_id: {TENANT}"));
    Target::new(&[&["azure_use_managed_identity: true", &client, &tenant], proof].concat())
}

#[tokio::test]
async fn all_is_well_and_nothing_was_spent() {
    let scene = Scene::of(&Target::with_identity());
    let ended = scene.run(&[]).await;
    let texts = [
        "ok identity 1 managed identity (IMDS)",
        "used by gpt-4o, kong.yaml:",
        "identity system-assigned (the default)",
        "scope https://cognitiveservices.azure.com/.default (the default)",
        "token valid for 86",
        " s (23 h); it took ",
        "ok target gpt-4o at 127.0.0.1",
        "signs in with a token of identity 1",
        "answer reached, signed in, and the deployment is there (status 400,",
    ];
    assert_says(&ended, 0, &texts);
    assert_eq!(last_line(&ended), "1 identity: 1 ok; 1 target: 1 ok");
    let seen = scene.sim.requests();
    let kinds: Vec<_> = seen.iter().map(|seen| (seen.kind, seen.status)).collect();
    assert_eq!(kinds, [(Kind::Imds, 200), (Kind::Chat, 400)], "no model may run");
    assert_eq!(seen[1].identity, "managed identity (system-assigned)");
}

#[tokio::test]
async fn no_question_makes_a_model_write() {
    for operation in ["chat/completions", "completions"] {
        let yaml = |sim: &str| {
            let text = Target::with_key().yaml(sim);
            let text = text.replace("/chat/completions", &format!("/{operation}"));
            let route = operation.replace("chat/completions", "chat");
            text.replace("llm/v1/chat", &format!("llm/v1/{route}"))
        };
        let scene = Scene::new(Options::default(), yaml);
        assert_says(&scene.run(&[]).await, 0, &["the deployment is there (status 400"]);
        assert_eq!(scene.sim.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_told_with_code_meaning_remedy_and_correlation_id() {
    let scene = Scene::of(&app());
    let start = scene.start(&[]).env("AZURE_CLIENT_SECRET", "wrong-secret");
    let ended = start.ended().await;
    let texts = [
        "FAILED identity 1 client secret",
        "secret *** (from AZURE_CLIENT_SECRET)",
        "problem the client secret is wrong",
        "to do use the secret's value, not the secret's ID",
        "details status 401, AADSTS7000215, 1 call in ",
        "correlation ",
        "FAILED target gpt-4o",
        "problem not asked: identity 1 has no token (the client secret is wrong)",
        "to do mend identity 1 first",
    ];
    assert_says(&ended, 1, &texts);
    assert_eq!(last_line(&ended), "1 identity: 1 failed; 1 target: 1 failed");
    assert!(scene.sim.requests().iter().all(|seen| seen.kind == Kind::Entra));
}

#[tokio::test]
async fn an_identity_that_is_not_assigned_is_named() {
    let target = Target::new(&["azure_use_managed_identity: true", "azure_client_id: unknown-id"]);
    let ended = Scene::of(&target).run(&[]).await;
    let texts = [
        "problem this machine does not have the identity client id unknown-id",
        "to do assign it to the VM or scale set, or correct the id (auth.azure_client_id)",
        "it said Identity not found",
    ];
    assert_says(&ended, 1, &texts);
}

#[tokio::test]
async fn a_certificate_is_not_explained_by_the_lack_of_a_secret() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/certificates/client.pem");
    let scene = Scene::of(&app());
    let ended = scene.start(&[]).env("AZURE_CLIENT_CERTIFICATE_PATH", file).ended().await;
    let why = "why AZURE_CLIENT_CERTIFICATE_PATH gives a client certificate client id";
    assert_says(&ended, 0, &["ok identity 1 client certificate", why]);
}

#[tokio::test]
async fn off_azure_it_says_so() {
    let closed = closed_port();
    let endpoint = format!("azure_imds_endpoint: http://{}", closed.local_addr().unwrap());
    let target = Target::new(&["azure_use_managed_identity: true", &endpoint]);
    let ended = Scene::of(&target).run(&[]).await;
    let texts = [
        "problem the metadata service does not answer",
        "to do this is not an Azure VM, or App Service has no identity assigned",
        "2 calls in ",
    ];
    assert_says(&ended, 1, &texts);
}

#[tokio::test]
async fn an_answer_that_never_comes_ends_with_the_timeout() {
    let scene = Scene::of(&app());
    let rule = Rule { kind: Some(Kind::Identity), delay_ms: 600_000, ..Rule::default() };
    scene.sim.fault(rule).unwrap();
    let start = scene.start(&["--timeout", "1"]).env("AZURE_CLIENT_SECRET", "s");
    let texts = ["problem the endpoint gave no answer in time (--timeout)"];
    assert_says(&start.ended().await, 1, &texts);

    let scene = Scene::of(&Target::with_key().deployment("fault-hang"));
    let ended = scene.run(&["--timeout", "1"]).await;
    assert_says(&ended, 1, &["problem the endpoint does not answer in time"]);
}

/// What is said of a target that the simulator treats so.
async fn of_target(options: Options, target: &Target, problem: &str, to_do: &str) {
    let scene = Scene::new(options, |sim| target.yaml(sim));
    let ended = scene.run(&[]).await;
    let (problem, to_do) = (format!("problem {problem}"), format!("to do {to_do}"));
    assert_says(&ended, 1, &["FAILED target", &problem, &to_do, "apim-request-id"]);
}

#[tokio::test]
async fn a_refused_token_leads_to_the_role_or_the_scope() {
    let identity = Target::with_identity;
    let lacks = "the token is good, but system-assigned (principal \
                 00000000-0000-0000-0000-0000000000d1) lacks a role on the resource";
    let role = identity().deployment("fault-permission");
    of_target(Options::default(), &role, lacks, "assign Cognitive Services OpenAI User").await;

    let switch = "azure_use_managed_identity: true";
    let other = Target::new(&[switch, "azure_scope: https://management.azure.com/.default"]);
    let asked = "the token of system-assigned was asked for the scope \
                 https://management.azure.com/.default, and is not taken";
    of_target(Options::default(), &other, asked, "set auth.azure_scope to what").await;
}

#[tokio::test]
async fn a_refused_key_leads_to_the_key_or_to_an_identity() {
    let no_keys = Options { keys: Vec::new(), ..Options::default() };
    let switch = "set auth.azure_use_managed_identity";
    of_target(no_keys, &Target::with_key(), "the resource takes no keys", switch).await;

    let other = Options { keys: vec!["other".into()], ..Options::default() };
    let (wrong, check) = ("the key is wrong", "check auth.header_value");
    of_target(other, &Target::with_key(), wrong, check).await;

    let bearer = Target::new(&["header_name: Authorization", "header_value: sim-key"]);
    let (none, name) = ("Azure found no key", "set auth.header_name to api-key");
    of_target(Options::default(), &bearer, none, name).await;

    let firewall = Target::with_key().deployment("fault-403-firewall");
    of_target(Options::default(), &firewall, "the network rules", "allow its network").await;
}

#[tokio::test]
async fn a_deployment_or_a_version_that_is_not_there_is_told() {
    let options = Options { deployments: vec!["other".into()], ..Options::default() };
    let correct = "correct model.options.azure_deployment_id";
    of_target(options, &Target::with_key(), "the resource has no deployment", correct).await;

    let yaml = |sim: &str| Target::with_key().yaml(sim).replace("2024-10-21", "someday");
    let ended = Scene::new(Options::default(), yaml).run(&[]).await;
    assert_says(&ended, 1, &["to do check model.options: azure_api_version"]);
}

#[tokio::test]
async fn what_keeps_the_gateway_from_the_endpoint_is_told_apart() {
    let closed = closed_port();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    silverback::tls::install_provider();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let strange = Options { tls: Some(std::sync::Arc::new(tls)), ..Options::default() };
    let strange = Sim::start(strange).unwrap();
    let plain = Sim::start(Options::default()).unwrap();
    for (url, problem) in [
        ("https://no-such-instance.invalid".to_owned(), "the host name does not resolve"),
        (format!("http://{}", closed.local_addr().unwrap()), "the endpoint cannot be connected to"),
        (strange.url(), "the endpoint's certificate is not accepted"),
        (plain.url().replace("http:", "https:"), "the endpoint speaks no TLS"),
    ] {
        let scene = Scene::new(Options::default(), |_| Target::with_key().yaml(&url));
        assert_says(&scene.run(&[]).await, 1, &[&format!("problem {problem}"), "to do "]);
    }
}

/// Two identities and five targets: well, without a token, of another key, and not to be asked.
fn mixed(sim: &str) -> String {
    let model = |deployment: &str| {
        format!(
            "{{provider: azure, name: {deployment}, options: {{azure_instance: contoso, \
             azure_deployment_id: {deployment}, azure_api_version: '2024-10-21', upstream_url: \
             '{sim}/openai/deployments/{deployment}/chat/completions'}}}}"
        )
    };
    let target = |auth: &str, deployment: &str| {
        let model = model(deployment);
        format!("    - {{route_type: llm/v1/chat, auth: {{{auth}}}, model: {model}}}\n")
    };
    let managed = "azure_use_managed_identity: true";
    let targets = [
        target(managed, "gpt-4o"),
        target(&format!("{managed}, azure_client_id: unknown-id"), "gpt-4o-ptu"),
        target("header_name: api-key, header_value: canary-wrong-key", "gpt-4.1"),
        target("header_name: api-key, header_value: canary-right-key", "$(headers.x-model)"),
        target("param_name: code, param_value: canary-param, param_location: query", "o3"),
    ];
    let preserve = "{azure_instance: contoso, azure_deployment_id: any}";
    format!(
        "_format_version: '3.0'
services:
- name: llm
  url: http://127.0.0.1:9
  routes:
  - name: chat
    paths: [/chat]
  - name: raw
    paths: [/raw]
plugins:
- name: ai-proxy-advanced
  instance_name: many
  route: chat
  config:
    targets:
{}- name: ai-proxy
  route: raw
  config:
    route_type: preserve
    auth: {{header_name: api-key, header_value: canary-right-key}}
    model: {{provider: azure, options: {preserve}}}
",
        targets.concat()
    )
}

fn mixed_scene() -> Scene {
    let keys = vec!["canary-right-key".to_owned()];
    Scene::new(Options { keys, ..Options::default() }, mixed)
}

#[tokio::test]
async fn a_mixed_configuration_is_sorted_with_what_is_wrong_last() {
    let scene = mixed_scene();
    let ended = scene.run(&[]).await;
    let texts = [
        "ai-proxy-advanced 'many' for route chat, config.targets[1]",
        "skipped its URL depends on the request (a template in model.options)",
        "skipped route_type preserve takes the path of each request",
        "signs in with the key of auth.param_value, in query argument code",
        "problem the key is wrong, or that of another resource",
    ];
    assert_says(&ended, 1, &texts);
    let sum = "2 identities: 1 ok, 1 failed; 6 targets: 1 ok, 3 failed, 2 not tried";
    assert_eq!(last_line(&ended), sum);
    let marks = ended.output.lines().filter(|line| line.contains("  target  "));
    let marks: Vec<_> = marks.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(marks, ["ok", "-", "-", "FAILED", "FAILED", "FAILED"]);
    for line in ended.output.lines().filter(|line| !line.contains("://")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(!ended.output.contains('\x1b'), "colour without a terminal");
}

#[tokio::test]
async fn scripts_get_the_same_as_json() {
    let (code, report) = mixed_scene().json(&[]).await;
    assert_eq!((code, &report["ok"]), (Some(1), &Value::Bool(false)));
    let identities = report["identities"].as_array().unwrap();
    assert_eq!(identities.len(), 2);
    assert_eq!(identities[0]["kind"], "managed identity (IMDS)");
    assert_eq!(identities[0]["used_by"], serde_json::json!([0]));
    assert!(identities[0]["token"]["expires_in_secs"].as_u64().unwrap() > 86_000);
    assert_eq!(identities[1]["failure"]["class"], "identity-not-assigned");
    assert_eq!(identities[1]["failure"]["status"], 400);
    assert_eq!(identities[1]["facts"][0]["value"], "unknown-id");
    assert_eq!(identities[1]["facts"][0]["from"], "auth.azure_client_id");
    let targets = report["targets"].as_array().unwrap();
    let states: Vec<_> = targets.iter().map(|at| at["answer"]["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["ok", "failed", "failed", "skipped", "failed", "skipped"]);
    assert_eq!(targets[2]["answer"]["status"], 401);
    assert_eq!(targets[2]["credential"]["in"], "header api-key");
    assert_eq!(targets[0]["deployment"], "gpt-4o");
    assert!(targets[0]["path"].as_str().unwrap().ends_with("plugins[0].config.targets[0]"));
    assert!(targets[0]["place"].as_str().unwrap().starts_with("kong.yaml:"));
}

#[tokio::test]
async fn no_secret_is_shown() {
    let scene = mixed_scene();
    let env = [("AZURE_CLIENT_ID", "c"), ("AZURE_TENANT_ID", "t")];
    for arguments in [&[][..], &["--json"], &["--offline"], &["--offline", "--json"]] {
        let start = scene.start(arguments).env("AZURE_CLIENT_SECRET", "canary-secret");
        let start = env.iter().fold(start, |start, (name, value)| start.env(name, value));
        let ended = start.ended().await;
        let shows = |secret| ended.output.contains(secret);
        assert!(!shows("canary-") && !shows("sim-token"), "{}", ended.output);
        assert!(ended.output.contains("client secret"), "{}", ended.output);
    }
}

#[tokio::test]
async fn an_endpoint_that_says_back_what_it_was_sent_is_not_quoted() {
    let scene = mixed_scene();
    let echo = "you sent canary-wrong-key and code=canary-param";
    let body = serde_json::json!({"error": {"code": "echo", "message": echo}});
    let rule = Rule { kind: Some(Kind::Chat), status: Some(400), ..Rule::default() };
    scene.sim.fault(Rule { body: Some(body), ..rule }).unwrap();
    for arguments in [&[][..], &["--json"]] {
        let ended = scene.run(arguments).await;
        assert_says(&ended, 1, &["echo you sent", "***"]);
        let shown = ended.output.matches("canary-").count();
        // Each of the two is masked in the answer to the request that held it.
        assert_eq!(shown, 4, "{}", ended.output);
    }
}

#[tokio::test]
async fn one_target_can_be_tried_alone() {
    let scene = mixed_scene();
    for (name, targets) in
        [("gpt-4o", 1), ("gpt-4o-ptu", 1), ("unknown-id", 1), ("chat", 5), ("many", 5), ("raw", 1)]
    {
        let (_, report) = scene.json(&["--target", name]).await;
        assert_eq!(report["targets"].as_array().unwrap().len(), targets, "{name}: {report:#}");
    }
    let (code, report) = scene.json(&["--target", "gpt-4o"]).await;
    assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report:#}");

    let ended = scene.run(&["--target", "gpt-4"]).await;
    assert_says(
        &ended,
        2,
        &["nothing is called 'gpt-4' (did you mean", "models: gpt-4o, gpt-4o-ptu"],
    );
    let (code, report) = scene.json(&["--target", "nonsense"]).await;
    assert_eq!((code, &report["ok"]), (Some(2), &Value::Bool(false)));
}

#[tokio::test]
async fn offline_nobody_is_called() {
    let scene = mixed_scene();
    let ended = scene.run(&["--offline"]).await;
    let texts = ["used by gpt-4o", "token not asked for (--offline)", "not asked (--offline)"];
    assert_says(&ended, 0, &texts);
    assert_eq!(last_line(&ended), "2 identities: 2 not tried; 6 targets: 6 not tried");
    assert!(scene.sim.requests().is_empty());
}

#[tokio::test]
async fn progress_goes_to_stderr_and_scripts_get_none() {
    let scene = Scene::of(&Target::with_identity());
    let ended = scene.run(&[]).await;
    let steps: Vec<_> = ended.errors();
    let token = "[1/2] token of managed identity (IMDS): system-assigned: ok (";
    assert!(steps[0].starts_with(token), "{}", ended.output);
    assert!(steps[1].starts_with("[2/2] question to gpt-4o at 127.0.0.1: ok ("), "{steps:?}");
    assert!(scene.run(&["--json"]).await.errors().is_empty());
}

#[tokio::test]
async fn ctrl_c_ends_the_wait() {
    let scene = Scene::of(&Target::with_key().deployment("fault-hang"));
    let process = scene.start(&["--timeout", "600"]).spawn();
    scene.sim.wait_for(1).await;
    process.signal("INT");
    assert_eq!(process.ended().await.code, None, "a signal ends it");
}
