//! A plugin's configuration, compiled: targets, identities, fail-over.
//!
//! Whatever cannot work is refused here, all of it at once, so that no request is the first to
//! find out. Only a vault reference that could not be resolved waits for a request (as in Kong).

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::acls::Acls;
use super::balance::{Balance, Named, Semantic, SpillCounters};
use super::client::changed_headers;
use super::failover::{Failover, limits};
use super::names::FieldNames;
use super::report::Counters;
use super::targets::{Target, Targets};
use crate::azure::{self, Identity};
use crate::entity::{PluginEntity, Secret};
use crate::guard;
use crate::llm::config::{self, AiProxy, AiProxyAdvanced, ResponseStreaming};
use crate::llm::plan::Invalid;
use crate::llm::price::Prices;
use crate::llm::{Plan, Provider, anthropic, stored, unsupported};
use crate::pdk::service::Limits;
use crate::settings::Env;
use crate::shared::Shared;
use crate::standings::{Label, Standing};

/// The body a plugin reads when its configuration does not say (Kong 3.13 and later), in bytes.
const BODY_LIMIT: u64 = 1 << 20;

/// What the configuration of either plugin asks for.
pub(in crate::plugins) struct Wanted {
    /// Each with its place in the configuration.
    targets: Vec<(FieldNames, config::Target)>,
    balancer: Option<config::Balancer>,
    acls: Option<config::Acls>,
    streaming: Option<ResponseStreaming>,
    body_limit: Option<u64>,
    model_name_header: Option<bool>,
    is_advanced: bool,
    /// Clients speak Anthropic's Messages API.
    messages: bool,
    /// What compares prompts with the descriptions of targets, where that decides.
    semantic: Option<Semantic>,
    /// What is not built.
    refusals: Vec<String>,
}

impl From<AiProxy> for Wanted {
    fn from(config: AiProxy) -> Self {
        Self {
            refusals: unsupported::in_ai_proxy(&config),
            targets: vec![(FieldNames::new("config", &[]), config.target())],
            balancer: None,
            acls: None,
            streaming: config.response_streaming,
            body_limit: config.max_request_body_size,
            model_name_header: config.model_name_header,
            is_advanced: false,
            messages: config.llm_format.as_deref() == Some(anthropic::FORMAT),
            semantic: None,
        }
    }
}

impl From<AiProxyAdvanced> for Wanted {
    fn from(config: AiProxyAdvanced) -> Self {
        let place =
            |(index, target)| (FieldNames::new(format!("config.targets[{index}]"), &[]), target);
        Self {
            refusals: unsupported::in_ai_proxy_advanced(&config),
            targets: config.targets.into_iter().enumerate().map(place).collect(),
            balancer: config.balancer,
            acls: config.acls,
            streaming: config.response_streaming,
            body_limit: config.max_request_body_size,
            model_name_header: config.model_name_header,
            is_advanced: true,
            messages: config.llm_format.as_deref() == Some(anthropic::FORMAT),
            semantic: None,
        }
    }
}

impl Wanted {
    /// With what compares prompts, or what stands against it.
    pub(super) fn semantic(mut self, semantic: Option<Semantic>, refusals: Vec<String>) -> Self {
        self.semantic = semantic;
        self.refusals.extend(refusals);
        self
    }

    /// One target, of a plugin that asks it by itself.
    pub(in crate::plugins) fn one(names: FieldNames, target: config::Target) -> Self {
        Self {
            refusals: unsupported::in_target(names.place(), &target),
            targets: vec![(names, target)],
            balancer: None,
            acls: None,
            streaming: None,
            body_limit: None,
            model_name_header: None,
            is_advanced: false,
            messages: false,
            semantic: None,
        }
    }
}

/// What the exchanges of one plugin instance share.
pub(in crate::plugins) struct Setup {
    /// The process.
    pub(super) shared: Arc<Shared>,
    /// The plugin's id, for the log record.
    pub(in crate::plugins) plugin_id: String,
    /// What people call the plugin: its instance name or its id.
    pub(super) plugin_name: String,
    /// Where requests may go.
    pub(in crate::plugins) targets: Targets,
    /// When they go to another target.
    pub(super) failover: Failover,
    /// Who may use which targets.
    pub(super) acls: Option<Acls>,
    /// Timeouts and retries; `None` leaves them to the Service.
    pub(super) limits: Option<Limits>,
    /// Bytes of a request body that are read; 0 leaves it to the process.
    pub(super) body_limit: usize,
    /// Whether `X-Kong-LLM-Model` is sent.
    pub(super) model_name_header: bool,
    /// Whether it is `ai-proxy-advanced`, whose log record tells more.
    pub(super) is_advanced: bool,
    /// Whether clients speak Anthropic's Messages API (`llm_format`).
    pub(super) messages: bool,
    /// Whether there are several targets, and requests may name what one of them keeps.
    pub(super) keeps: bool,
    /// Headers that targets change on a request.
    pub(super) changed_headers: Vec<HeaderName>,
    /// Series by model.
    pub(super) counters: Counters,
    /// Series of what goes to groups of lower priority.
    pub(super) spills: SpillCounters,
    /// What the author of the configuration should know.
    pub(in crate::plugins) warnings: Vec<String>,
}

impl Setup {
    /// Compiles a configuration, or says everything that stands against it.
    pub(in crate::plugins) fn new(
        shared: &Arc<Shared>,
        env: &Env,
        plugin: Instance,
        wanted: Wanted,
    ) -> Result<Self, Vec<String>> {
        let mut notes = Notes { refusals: wanted.refusals, warnings: Vec::new() };
        if wanted.targets.is_empty() {
            notes.refusals.push("config.targets: must hold at least one target".to_owned());
        }
        let streaming = wanted.streaming.unwrap_or(ResponseStreaming::Allow);
        let drafts: Vec<_> = wanted
            .targets
            .iter()
            .filter_map(|(names, target)| Draft::new(env, names, target, streaming, &mut notes))
            .collect();
        let balancer = wanted.balancer.as_ref();
        let failover = Failover::new(balancer, &mut notes.warnings);
        let rules = wanted.acls.as_ref();
        let acls = rules.and_then(|rules| Acls::new(rules, &mut notes.refusals));
        if let Some(balancer) = balancer {
            check_balancer(balancer, &wanted.targets, &mut notes);
        }
        if !notes.refusals.is_empty() {
            return Err(notes.refusals);
        }
        let keys = drafts.iter().filter_map(|draft| draft.key_header.clone());
        let version = wanted.messages.then_some(anthropic::VERSION);
        let changed_headers = changed_headers(keys.chain(version));
        let named = Named::all(drafts.iter().map(|draft| (&draft.plan, draft.weight())));
        let balance =
            Balance::new(balancer, &shared.standings, &plugin.id, &named, wanted.semantic);
        let may_name = |draft: &Draft| stored::may_name(draft.plan.route_type());
        let keeps = drafts.len() > 1 && drafts.iter().any(may_name);
        let targets = drafts.into_iter().zip(named).map(|(draft, named)| {
            let label = Label { plugin: plugin.name.clone(), target: named.label };
            let standing = shared.standings.of(&plugin.id, &named.place, &label);
            draft.target(shared, label.target, standing)
        });
        Ok(Self {
            changed_headers,
            targets: Targets::new(targets.collect(), balance),
            shared: shared.clone(),
            plugin_id: plugin.id,
            plugin_name: plugin.name,
            failover,
            acls,
            limits: balancer.map(limits),
            body_limit: usize::try_from(wanted.body_limit.unwrap_or(BODY_LIMIT))
                .unwrap_or(usize::MAX),
            model_name_header: wanted.model_name_header.unwrap_or(true),
            is_advanced: wanted.is_advanced,
            messages: wanted.messages,
            keeps,
            counters: Counters::default(),
            spills: SpillCounters::default(),
            warnings: notes.warnings,
        })
    }
}

/// Which instance it is.
pub(in crate::plugins) struct Instance {
    /// Its id.
    pub(in crate::plugins) id: String,
    /// What people call it: its instance name or its id.
    pub(in crate::plugins) name: String,
}

impl Instance {
    /// A plugin of the configuration.
    pub(in crate::plugins) fn of(plugin: &PluginEntity) -> Self {
        let id = plugin.id.to_string();
        let name = plugin.instance_name.clone().unwrap_or_else(|| id.clone());
        Self { id, name }
    }
}

/// What an operator is to know.
struct Notes {
    refusals: Vec<String>,
    warnings: Vec<String>,
}

/// A target before its identity is registered: a refused configuration must not leave one behind.
struct Draft {
    plan: Plan,
    identity: Option<Identity>,
    unresolved: Option<&'static str>,
    key_header: Option<HeaderName>,
    prices: Prices,
    config: config::Target,
}

impl Draft {
    fn new(
        env: &Env,
        names: &FieldNames,
        target: &config::Target,
        streaming: ResponseStreaming,
        notes: &mut Notes,
    ) -> Option<Self> {
        let mut config = target.clone();
        let unresolved = config.auth.as_ref().and_then(unresolved);
        if unresolved.is_some() {
            // It serves no request, so that nothing of it is sent in place of the secret.
            config.auth = None;
        }
        choose(names, &mut config, notes);
        let plan = match Plan::new(&config, streaming) {
            Ok(plan) => plan,
            Err(Invalid::NotBuilt(..)) => return None, // `unsupported` has a better line
            Err(invalid) => {
                let field = names.path(&invalid.field());
                notes.refusals.push(format!("{field}: {}", invalid.problem()));
                return None;
            }
        };
        let host = plan.sample_endpoint().map_or("", |endpoint| &endpoint.host);
        let target = format!("{host}{}", plan.sample_path().unwrap_or_default());
        let auth = config.auth.as_ref().map(identity_fields).unwrap_or_default();
        let identity = azure::resolve(&auth, env, &target);
        let identity = identity.unwrap_or_else(|incomplete| {
            let line = incomplete.told(&|field| names.beside(&format!("auth.{field}")));
            notes.refusals.push(format!("{}: {line}", names.path("auth")));
            None
        });
        check_way(names, &plan, plan.has_key() || auth.use_managed_identity, notes);
        let key_header = config.auth.as_ref().and_then(|auth| auth.header_name.as_deref());
        let key_header = key_header.and_then(crate::pdk::request::header_name);
        let options = config.model.options.as_ref();
        let prices = options.map_or_else(|| Ok(Prices::default()), Prices::new);
        let prices = prices.unwrap_or_else(|errors| {
            let line = |error| format!("{}.{error}", names.path("model.options"));
            notes.refusals.extend(errors.into_iter().map(line));
            Prices::default()
        });
        Some(Self { plan, identity, unresolved, key_header, prices, config })
    }

    fn weight(&self) -> u32 {
        self.config.weight.unwrap_or(100)
    }

    /// Registers the identity; its first exchange starts when a worker takes the plugin over.
    fn target(self, shared: &Shared, label: String, standing: Arc<Standing>) -> Target {
        let weight = self.weight();
        let identity = self.identity.map(|identity| shared.tokens.handle(identity));
        let host = self.plan.endpoint().and_then(|endpoint| {
            Some((Rc::from(&*endpoint.host), HeaderValue::from_str(&endpoint.host).ok()?))
        });
        let logs = |flag: fn(&config::Logging) -> Option<bool>| {
            self.config.logging.as_ref().and_then(flag).unwrap_or(false)
        };
        Target {
            resource: shared.standings.whereabouts.resource(&self.plan),
            identity,
            unresolved: self.unresolved,
            allow_override: self.config.auth.as_ref().and_then(|auth| auth.allow_override)
                == Some(true),
            host,
            prices: self.prices,
            log_statistics: logs(|logging| logging.log_statistics),
            log_payloads: logs(|logging| logging.log_payloads),
            weight,
            plan: self.plan,
            label,
            standing,
        }
    }
}

/// What a balancer asks of its targets.
fn check_balancer(
    balancer: &config::Balancer,
    targets: &[(FieldNames, config::Target)],
    notes: &mut Notes,
) {
    let by_priority = balancer.algorithm == Some(config::Algorithm::Priority);
    let by_cost = balancer.algorithm == Some(config::Algorithm::LowestUsage)
        && balancer.tokens_count_strategy == Some(config::TokensCountStrategy::Cost);
    let best = targets.iter().map(|(_, target)| target.weight).max().flatten();
    let caps_cost = balancer.spill.as_ref().is_some_and(|spill| spill.max_cost.is_some());
    for (names, target) in targets {
        let place = names.place();
        let options = target.model.options.as_ref();
        let has_prices =
            options.is_some_and(|one| one.input_cost.is_some() && one.output_cost.is_some());
        let logs = target.logging.as_ref().is_some_and(|one| one.log_statistics == Some(true));
        if by_cost && !(has_prices && logs) {
            notes.refusals.push(format!(
                "{place}: tokens_count_strategy 'cost' needs model.options.input_cost, \
                 model.options.output_cost and logging.log_statistics"
            ));
        }
        if caps_cost && !has_prices && target.weight != best {
            notes.refusals.push(format!(
                "{place}: balancer.spill.max_cost needs model.options.input_cost and \
                 model.options.output_cost"
            ));
        }
    }
    if balancer.spill.is_some() && !by_priority {
        let line = "config.balancer.spill: has a meaning with algorithm 'priority' only";
        notes.refusals.push(line.to_owned());
    }
    let header = balancer.hash_on_header.as_deref();
    if header.is_some_and(|name| crate::pdk::request::header_name(name).is_none()) {
        notes.refusals.push("config.balancer.hash_on_header: is no header".to_owned());
    }
}

/// Where a credential must not go, and where nothing should.
fn check_way(names: &FieldNames, plan: &Plan, has_credential: bool, notes: &mut Notes) {
    let Some(endpoint) = plan.sample_endpoint() else { return };
    let (field, host) = (names.path("model.options.upstream_url"), &endpoint.host);
    if has_credential && endpoint.is_exposed() {
        notes.refusals.push(format!(
            "{field}: the credential would cross the network to {host} in the clear; use https://"
        ));
    } else if has_credential && plan.is_host_theirs() && !azure::is_azures_own(host) {
        let domain = host.split_once('.').map_or(&**host, |(_, domain)| domain);
        notes.refusals.push(format!(
            "{field}: a client would say to which host of {domain} the credential goes; behind a \
             template it goes to Azure's own domains only (openai.azure.com, \
             cognitiveservices.azure.com, services.ai.azure.com); write the hosts out, as targets"
        ));
    }
    if let Some(rule) = guard::literal(host, endpoint.port) {
        notes
            .warnings
            .push(format!("{field}: {rule}; whoever may use it may get tokens of this machine"));
    }
}

/// Settles which of several credentials is meant, and says what has no effect.
fn choose(names: &FieldNames, config: &mut config::Target, notes: &mut Notes) {
    let provider = config.model.provider;
    let has_url = config.model.options.as_ref().is_some_and(|o| o.upstream_url.is_some());
    let Some(auth) = &mut config.auth else { return };
    let fields = identity_fields(auth);
    for field in fields.unused() {
        notes.warnings.push(format!(
            "{} has no effect: {} is false",
            names.path(&format!("auth.{field}")),
            names.beside(SWITCH)
        ));
    }
    if !fields.use_managed_identity {
        return;
    }
    if provider == Provider::Openai && !has_url {
        notes.refusals.push(format!(
            "{}: api.openai.com takes no Azure token; use provider azure, or set {}",
            names.path(SWITCH),
            names.beside("model.options.upstream_url")
        ));
    }
    if auth.header_name.take().is_some() | auth.header_value.take().is_some() {
        notes.warnings.push(format!(
            "{} and header_value have no effect: {} is true and wins",
            names.path("auth.header_name"),
            names.beside(SWITCH)
        ));
    }
}

/// The first field in use that still holds a vault reference.
fn unresolved(auth: &config::Auth) -> Option<&'static str> {
    let signs_in = auth.azure_use_managed_identity == Some(true);
    let text = |value: &Option<String>| value.as_deref().is_some_and(is_reference);
    let secret =
        |value: &Option<Secret>| value.as_ref().is_some_and(|secret| is_reference(secret.expose()));
    let always = [
        ("auth.param_name", text(&auth.param_name)),
        ("auth.param_value", secret(&auth.param_value)),
    ];
    let header = [
        ("auth.header_name", text(&auth.header_name)),
        ("auth.header_value", secret(&auth.header_value)),
    ];
    let identity = [
        ("auth.azure_client_id", text(&auth.azure_client_id)),
        ("auth.azure_client_secret", secret(&auth.azure_client_secret)),
        ("auth.azure_tenant_id", text(&auth.azure_tenant_id)),
        (OBJECT_ID, text(&auth.azure_managed_identity_object_id)),
        (RESOURCE_ID, text(&auth.azure_managed_identity_resource_id)),
        ("auth.azure_federated_token_file", text(&auth.azure_federated_token_file)),
        ("auth.azure_client_certificate_path", text(&auth.azure_client_certificate_path)),
        ("auth.azure_client_certificate", secret(&auth.azure_client_certificate)),
        (CERTIFICATE_PASSWORD, secret(&auth.azure_client_certificate_password)),
        ("auth.azure_scope", text(&auth.azure_scope)),
        ("auth.azure_authority_host", text(&auth.azure_authority_host)),
        ("auth.azure_imds_endpoint", text(&auth.azure_imds_endpoint)),
    ];
    let chosen = if signs_in { &identity[..] } else { &header[..] };
    let open = always.iter().chain(chosen).find(|(_, is_open)| *is_open);
    open.map(|(name, _)| *name)
}

const SWITCH: &str = "auth.azure_use_managed_identity";
const OBJECT_ID: &str = "auth.azure_managed_identity_object_id";
const RESOURCE_ID: &str = "auth.azure_managed_identity_resource_id";

const CERTIFICATE_PASSWORD: &str = "auth.azure_client_certificate_password";

fn is_reference(value: &str) -> bool {
    value.starts_with("{vault://")
}

fn identity_fields(auth: &config::Auth) -> azure::Auth {
    azure::Auth {
        use_managed_identity: auth.azure_use_managed_identity == Some(true),
        client_id: auth.azure_client_id.clone(),
        client_secret: auth.azure_client_secret.clone(),
        tenant_id: auth.azure_tenant_id.clone(),
        authority_host: auth.azure_authority_host.clone(),
        scope: auth.azure_scope.clone(),
        imds_endpoint: auth.azure_imds_endpoint.clone(),
        federated_token_file: auth.azure_federated_token_file.clone(),
        client_certificate_path: auth.azure_client_certificate_path.clone(),
        client_certificate: auth.azure_client_certificate.clone(),
        client_certificate_password: auth.azure_client_certificate_password.clone(),
        client_send_certificate_chain: auth.azure_client_send_certificate_chain,
        managed_identity_object_id: auth.azure_managed_identity_object_id.clone(),
        managed_identity_resource_id: auth.azure_managed_identity_resource_id.clone(),
    }
}

#[cfg(test)]
mod tests;
