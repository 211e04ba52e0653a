//! A simulator, a gateway in front of it, and configurations as Kong's Azure guide writes them:
//! the only target stands in place, directly under the config of ai-proxy-advanced.

use serde_json::Value;
use silverback::sim::{Kind, Options, Recorded, Sim};

use super::gateway::{Builder, TestGateway};
use super::http::Message;

pub const TENANT: &str = "11111111-2222-3333-4444-555555555555";
pub const CLIENT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
pub const HELLO: &str = r#"{"messages":[{"role":"user","content":"hello"}]}"#;
pub const STREAM: &str =
    r#"{"stream":true,"messages":[{"role":"user","content":"one two three"}]}"#;

/// What the plugin is attached to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Route,
    ConsumerGroup,
    Global,
}

/// One target and the plugin around it, on its way to YAML.
#[derive(Clone)]
pub struct Target {
    auth: String,
    config: String,
    options: String,
    plugins: String,
    model: &'static str,
    deployment: &'static str,
    scope: Scope,
    has_upstream_url: bool,
    /// `logging.log_statistics`.
    pub statistics: bool,
}

impl Target {
    /// A target with these lines under `auth`.
    pub fn new(auth: &[&str]) -> Self {
        Self {
            auth: lines(8, auth),
            config: String::new(),
            options: String::new(),
            plugins: String::new(),
            model: "name: gpt-4o",
            deployment: "gpt-4o",
            scope: Scope::Global,
            has_upstream_url: true,
            statistics: true,
        }
    }

    /// A target with the simulator's API key.
    pub fn with_key() -> Self {
        Self::new(&["header_name: api-key", "header_value: sim-key"])
    }

    /// A target with the identity that the machine was given.
    pub fn with_identity() -> Self {
        Self::new(&["azure_use_managed_identity: true"])
    }

    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// The deployment, in the option and in `upstream_url`.
    pub fn deployment(mut self, deployment: &'static str) -> Self {
        self.deployment = deployment;
        self
    }

    /// The line that names the model; empty, and the client names one.
    pub fn model(mut self, line: &'static str) -> Self {
        self.model = line;
        self
    }

    /// One more line under `config`.
    pub fn config(mut self, line: &str) -> Self {
        self.config += &lines(6, &[line]);
        self
    }

    /// One more line under `options` of the model.
    pub fn option(mut self, line: &str) -> Self {
        self.options += &lines(10, &[line]);
        self
    }

    /// One more global plugin, in flow style.
    pub fn plugin(mut self, plugin: &str) -> Self {
        self.plugins += &format!("  - {plugin}\n");
        self
    }

    /// No `upstream_url`: the gateway works out the public name of the instance.
    pub fn at_its_public_name(mut self) -> Self {
        self.has_upstream_url = false;
        self
    }

    /// The whole file.
    pub fn yaml(&self, sim: &str) -> String {
        let Self { auth, config, options, plugins, model, deployment, statistics, .. } = self;
        let scope = match self.scope {
            Scope::Route => "    route: chat\n",
            Scope::ConsumerGroup => "    consumer_group: team\n",
            Scope::Global => "",
        };
        let url = match self.has_upstream_url {
            true => lines(
                10,
                &[&format!("upstream_url: {sim}/openai/deployments/{deployment}/chat/completions")],
            ),
            false => String::new(),
        };
        format!(
            "_format_version: \"3.0\"
services:
  - name: llm
    url: http://127.0.0.1:9
    routes:
      - name: chat
        paths: [/chat]
{KEY_AUTH}plugins:
  - name: ai-proxy-advanced
{scope}    config:
      route_type: llm/v1/chat
{config}      auth:
{auth}      logging:
        log_statistics: {statistics}
      model:
        provider: azure
        {model}
        options:
          azure_instance: my-instance
          azure_deployment_id: {deployment}
          azure_api_version: \"2024-10-21\"
{options}{url}{plugins}",
            KEY_AUTH = if self.scope == Scope::ConsumerGroup { KEY_AUTH } else { "" },
        )
    }
}

/// Two consumers, of whom one is in the group.
const KEY_AUTH: &str = "        plugins:
          - name: key-auth
consumer_groups:
  - name: team
consumers:
  - username: member
    groups: [{name: team}]
    keyauth_credentials: [{key: member-key}]
  - username: stranger
    keyauth_credentials: [{key: stranger-key}]
";

fn lines(indent: usize, lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{:indent$}{line}\n", "")).collect()
}

/// A simulator and a gateway whose identity calls and chats go there.
pub struct Scene {
    pub sim: Sim,
    pub gateway: TestGateway,
}

impl Scene {
    pub fn start(target: &Target) -> Self {
        Self::with(target, Options::default(), |builder, _| builder)
    }

    /// `prepare` may add settings and variables.
    pub fn with(
        target: &Target,
        options: Options,
        prepare: impl FnOnce(Builder, &Sim) -> Builder,
    ) -> Self {
        let sim = Sim::start(options).unwrap();
        let builder = Builder::default()
            .env("AZURE_AUTHORITY_HOST", &sim.url())
            .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", &sim.url());
        let gateway = prepare(builder, &sim).start(&target.yaml(&sim.url()));
        Self { sim, gateway }
    }

    /// The calls to a model so far.
    pub fn chats(&self) -> Vec<Recorded> {
        self.of_kind(|kind| {
            matches!(kind, Kind::Chat | Kind::Completions | Kind::Messages | Kind::Openai)
        })
    }

    /// The calls for a token so far.
    pub fn exchanges(&self) -> Vec<Recorded> {
        self.of_kind(Kind::is_token_endpoint)
    }

    fn of_kind(&self, is_wanted: impl Fn(Kind) -> bool) -> Vec<Recorded> {
        self.sim.requests().into_iter().filter(|seen| is_wanted(seen.kind)).collect()
    }

    /// Says hello to the model.
    pub async fn hello(&self) -> Message {
        self.gateway.post("/chat", HELLO).await
    }

    /// A chat with these words in the prompt, which may hold a `[[fault-...]]`.
    pub async fn say(&self, prompt: &str) -> Message {
        let messages = serde_json::json!([{ "role": "user", "content": prompt }]);
        self.gateway.post("/chat", &serde_json::json!({ "messages": messages }).to_string()).await
    }

    /// The identity that Azure saw in the newest call to a model.
    pub fn identity(&self) -> String {
        self.chats().last().map_or("none".to_owned(), |seen| seen.identity.clone())
    }
}

/// What the assistant said.
pub fn content(message: &Message) -> Value {
    message.json()["choices"][0]["message"]["content"].clone()
}

/// Asserts a successful chat, and prints the answer otherwise.
#[track_caller]
pub fn assert_chat(message: &Message, what: &str) {
    assert_eq!(message.status(), 200, "{what}: {message:?}: {}", message.text());
    assert!(content(message).is_string(), "{what}: {}", message.text());
}
