//! kong.conf, `KONG_*`, `SILVERBACK_*`, `AZURE_*`: the only reader of the environment.
//!
//! A property `x` comes from a flag, else from `KONG_X`, else from kong.conf, else from its
//! default. Names and defaults are Kong's; what Kong has no name for starts with `silverback_`.

mod env;
mod known;
mod listen;
mod proxy_ssl;
mod reference;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::entity::Secret;
use text::{conf_lines, flag_of, size};

pub use env::Env;
pub use listen::Listen;
pub use proxy_ssl::{ProxySsl, TlsVersion};
pub use reference::{Reference, Unresolved, is_reference};

/// Everything that is decided before the first request.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients connect.
    pub proxy_listen: Vec<Listen>,
    /// `/status` and `/metrics`.
    pub status_listen: Vec<Listen>,
    /// Worker threads.
    pub workers: usize,
    /// Lowest level that is logged: Kong's names.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Where the access log goes; `None` is off.
    pub access_log: Option<PathBuf>,
    /// Headers the gateway adds to responses (`headers`).
    pub headers: Tokens,
    /// Whether `Kong-Debug: 1` asks for the Route's and the Service's names.
    pub allow_debug_header: bool,
    /// Whether the upstream gets `X-Kong-Request-Id` (`headers_upstream`).
    pub request_id_upstream: bool,
    /// The media type of nginx' error pages for clients that name none.
    pub error_default_type: String,
    /// Templates of error bodies by format: `html`, `json`, `xml`, `plain`.
    pub error_templates: BTreeMap<&'static str, PathBuf>,
    /// Peers that may set `X-Forwarded-*` and the real address.
    pub trusted_ips: Vec<IpNet>,
    /// The header that holds the client's address, lower case.
    pub real_ip_header: String,
    /// Take the last untrusted address instead of the last one.
    pub real_ip_recursive: bool,
    /// How Routes are matched.
    pub router_flavor: RouterFlavor,
    /// Enabled plugins: `bundled` and names.
    pub plugins: Vec<String>,
    /// How connections to upstreams are encrypted.
    pub proxy_ssl: ProxySsl,
    /// Where Lua modules are looked for.
    pub lua_package_path: String,
    /// Trusted certificates beside the system's.
    pub trusted_certificates: Vec<PathBuf>,
    /// Certificates and keys of TLS listeners, for names that the configuration does not have.
    pub ssl_cert: Vec<(PathBuf, PathBuf)>,
    /// Idle upstream connections a worker keeps.
    pub keepalive_pool_size: usize,
    /// Milliseconds an idle upstream connection lives.
    pub keepalive_idle_ms: u64,
    /// Requests one upstream connection serves.
    pub keepalive_max_requests: u64,
    /// Milliseconds a client may take between two reads of its body.
    pub client_body_ms: u64,
    /// Largest request body, bytes; 0 is no limit (`nginx_http_client_max_body_size`).
    pub client_max_body: u64,
    /// Bytes of bodies the process holds in memory (`silverback_buffer_budget`).
    pub buffer_budget: usize,
    /// Largest body that is read whole, bytes (`silverback_buffer_limit`).
    pub buffer_limit: usize,
    /// Client connections at once; 0 is no limit (`silverback_max_connections`).
    pub max_connections: usize,
    /// Seconds a stream may last (`silverback_stream_max_secs`).
    pub stream_max_secs: u64,
    /// Seconds open exchanges may take after a stop signal.
    pub drain_secs: u64,
    /// Whether clients and plugins are kept from metadata addresses
    /// (`silverback_metadata_guard`).
    pub metadata_guard: bool,
    /// The configuration files named by `declarative_config`.
    pub declarative_config: Option<String>,
    /// The configuration itself (`declarative_config_string`); a named file goes before it.
    pub declarative_config_string: Option<Secret>,
    /// A file of variables that is read again when it changes.
    pub env_file: Option<PathBuf>,
    /// The environment, for identities, vaults and `${{ env }}`.
    pub env: Env,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Kong's flavours of the router, as far as they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouterFlavor {
    /// By criteria: paths, hosts, methods, headers, SNIs.
    #[default]
    TraditionalCompatible,
    /// By criteria or by an expression.
    Expressions,
}

impl RouterFlavor {
    /// Kong's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TraditionalCompatible => "traditional_compatible",
            Self::Expressions => "expressions",
        }
    }
}

/// The headers that `headers` turns on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// `Server`.
    pub server: bool,
    /// `Via`.
    pub via: bool,
    /// `X-Kong-Proxy-Latency`.
    pub proxy_latency: bool,
    /// `X-Kong-Upstream-Latency`.
    pub upstream_latency: bool,
    /// `X-Kong-Response-Latency`.
    pub response_latency: bool,
    /// `X-Kong-Request-Id`.
    pub request_id: bool,
    /// `X-Kong-Upstream-Status`.
    pub upstream_status: bool,
}

/// Flags that stand above everything else: property names and values.
pub type Flags = BTreeMap<String, String>;

/// What was read, and what the reader should know about it.
pub struct Read {
    /// The settings.
    pub settings: Settings,
    /// One line each.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads the settings from flags, environment and kong.conf text.
    ///
    /// # Errors
    /// One line for each value that cannot be used, with its property and an example; then the
    /// warnings, because a misspelt name may be why a value is wrong.
    pub fn read(flags: &Flags, env: Env, conf: Option<&str>) -> Result<Read, Vec<String>> {
        let mut layers = Layers::new(flags, &env, conf);
        // The configuration's references find it where KONG_VAULT_ENV_PREFIX would put it.
        let env = env.with("KONG_VAULT_ENV_PREFIX", &layers.text("vault_env_prefix", ""));
        let settings = layers.settings(env);
        let warnings = std::mem::take(&mut layers.warnings);
        if layers.errors.is_empty() {
            return Ok(Read { settings, warnings });
        }
        let warnings = warnings.into_iter().map(|warning| format!("warning: {warning}"));
        Err(layers.errors.into_iter().chain(warnings).collect())
    }

    /// The largest request body that is read whole, bytes.
    pub fn body_limit(&self) -> usize {
        match usize::try_from(self.client_max_body) {
            Ok(0) | Err(_) => self.buffer_limit,
            Ok(limit) => limit.min(self.buffer_limit),
        }
    }

    /// The defaults, without any environment: what tests start from.
    pub fn defaults() -> Self {
        let env = Env::default();
        Layers::new(&Flags::new(), &env, None).settings(env.clone())
    }
}

/// Property values by layer, and what was wrong with them.
struct Layers {
    values: BTreeMap<String, (String, String)>,
    /// Properties whose value was a vault reference: it is not printed.
    secret: BTreeSet<String>,
    warnings: Vec<String>,
    errors: Vec<String>,
}

impl Layers {
    fn new(flags: &Flags, env: &Env, conf: Option<&str>) -> Self {
        let mut layers = Self {
            values: BTreeMap::new(),
            secret: BTreeSet::new(),
            warnings: Vec::new(),
            errors: Vec::new(),
        };
        for (name, value, origin) in conf.into_iter().flat_map(conf_lines) {
            layers.put(name, value, origin);
        }
        for (variable, value) in env.iter() {
            let name = variable.strip_prefix("KONG_").map(str::to_ascii_lowercase);
            let ours = variable.starts_with("SILVERBACK_").then(|| variable.to_ascii_lowercase());
            if let Some(name) = name.or(ours) {
                layers.put(name, value.to_owned(), variable.to_owned());
            }
        }
        for (name, value) in flags {
            layers.put(name.clone(), value.clone(), flag_of(name));
        }
        layers.resolve_references(env);
        let without_effect = |(name, (value, _)): &(&String, &(String, String))| {
            known::is_without_effect(name, value)
        };
        let idle = layers.values.iter().filter(without_effect).map(|(name, _)| name.as_str());
        let idle: Vec<_> = idle.collect();
        if !idle.is_empty() {
            let line = format!("settings of Kong without an effect here: {}", idle.join(", "));
            layers.warnings.push(line);
        }
        layers
    }

    /// Puts the values of `{vault://env/NAME}` in; one that has none is an error (Kong).
    fn resolve_references(&mut self, env: &Env) {
        let prefix = self.text("vault_env_prefix", "");
        let Self { values, secret, errors, .. } = self;
        values.retain(|name, (value, origin)| {
            if !is_reference(value) {
                return true;
            }
            let resolved = Reference::parse(value).and_then(|reference| {
                let known = reference.vault == "env";
                let unknown = || Unresolved::Vault(reference.vault.clone());
                known.then(|| reference.value(env, &prefix)).ok_or_else(unknown)?
            });
            let message = |reason: Unresolved| {
                format!("{origin}: the vault reference of '{name}' cannot be resolved: {reason}")
            };
            match resolved {
                Ok(resolved) => {
                    *value = resolved;
                    secret.insert(name.clone());
                    true
                }
                Err(reason) => {
                    errors.push(message(reason));
                    false
                }
            }
        });
    }

    fn put(&mut self, name: String, value: String, origin: String) {
        if !known::is_known(&name) {
            let hint = known::nearest(&name).map(|n| format!("; did you mean '{n}'?"));
            let hint = hint.unwrap_or_default();
            self.warnings.push(format!("{origin}: no such setting, it is ignored{hint}"));
            return;
        }
        if let Some(note) = known::note(&name, &value) {
            self.warnings.push(format!("{origin}: {note}"));
        }
        self.values.insert(name, (value, origin));
    }

    fn text(&self, name: &str, default: &str) -> String {
        self.values.get(name).map_or(default, |(value, _)| value).to_owned()
    }

    fn parse<T>(
        &mut self,
        name: &str,
        default: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = self.text(name, default);
        let parsed = parse(value.trim());
        if parsed.is_none() {
            let origin = self.values.get(name).map_or(name, |(_, origin)| origin);
            let shown = if self.secret.contains(name) { "***" } else { &value };
            self.errors.push(format!("{origin}: '{shown}' is not {expected}"));
        }
        parsed
    }

    fn number(&mut self, name: &str, default: u64) -> u64 {
        let parsed = self.parse(name, &default.to_string(), "a whole number", |v| v.parse().ok());
        parsed.unwrap_or(default)
    }

    fn flag(&mut self, name: &str, default: &str) -> bool {
        let read = |v: &str| match v {
            "on" | "true" | "yes" => Some(true),
            "off" | "false" | "no" => Some(false),
            _ => None,
        };
        self.parse(name, default, "on or off", read).unwrap_or_default()
    }

    fn size(&mut self, name: &str, default: &str) -> u64 {
        self.parse(name, default, "a size such as 16m, 512k or 1048576", size).unwrap_or_default()
    }

    fn listens(&mut self, name: &str, default: &str) -> Vec<Listen> {
        let expected = "a listener such as 127.0.0.1:8000 or '0.0.0.0:8443 ssl http2', or off";
        self.parse(name, default, expected, Listen::parse_list).unwrap_or_default()
    }

    fn list(&self, name: &str, default: &str) -> Vec<String> {
        let value = self.text(name, default);
        value.split(',').map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).collect()
    }

    fn settings(&mut self, env: Env) -> Settings {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let ssl_cert = self.certificates();
        let listen = if !ssl_cert.is_empty() {
            "0.0.0.0:8000, 0.0.0.0:8443 http2 ssl"
        } else {
            "0.0.0.0:8000"
        };
        let workers = |v: &str| {
            if v == "auto" { Some(cores) } else { v.parse().ok().filter(|n| (1..=256).contains(n)) }
        };
        let expected = "a number of workers from 1 to 256, or auto";
        let count = self.parse("nginx_worker_processes", "auto", expected, workers);
        let proxy_listen = self.listens("proxy_listen", listen);
        let status_listen = self.listens("status_listen", "127.0.0.1:8007");
        if status_listen.iter().any(|listen| listen.tls) {
            self.errors.push("status_listen: TLS is not built there yet; take out 'ssl'".into());
        }
        Settings {
            proxy_listen,
            status_listen,
            workers: count.unwrap_or(1),
            log_level: self.level(),
            log_format: self.format(),
            access_log: self.access_log(),
            headers: self.tokens(),
            allow_debug_header: self.flag("allow_debug_header", "off"),
            request_id_upstream: self.text("headers_upstream", "X-Kong-Request-Id") != "off",
            error_default_type: self.error_type(),
            error_templates: self.error_templates(),
            trusted_ips: self.networks(),
            real_ip_header: self.text("real_ip_header", "X-Real-IP").to_ascii_lowercase(),
            real_ip_recursive: self.flag("real_ip_recursive", "off"),
            router_flavor: self.router_flavor(),
            plugins: self.plugins(),
            lua_package_path: self.text("lua_package_path", "./?.lua;./?/init.lua;"),
            trusted_certificates: self.trusted_certificates(),
            ssl_cert,
            proxy_ssl: self.proxy_ssl(),
            keepalive_pool_size: self.number("upstream_keepalive_pool_size", 512) as usize,
            keepalive_idle_ms: self
                .number("upstream_keepalive_idle_timeout", 60)
                .saturating_mul(1000),
            keepalive_max_requests: self.number("upstream_keepalive_max_requests", 10_000),
            client_body_ms: 60_000,
            client_max_body: self.size("nginx_http_client_max_body_size", "0"),
            buffer_budget: self.size("silverback_buffer_budget", "512m") as usize,
            buffer_limit: self.size("silverback_buffer_limit", "64m") as usize,
            max_connections: self.number("silverback_max_connections", 16_384) as usize,
            stream_max_secs: self.number("silverback_stream_max_secs", 3600),
            drain_secs: self.number("silverback_drain_secs", 30),
            metadata_guard: self.flag("silverback_metadata_guard", "on"),
            declarative_config: self.optional("declarative_config"),
            declarative_config_string: self
                .optional("declarative_config_string")
                .map(|text| Secret::new(&text)),
            env_file: self.optional("silverback_env_file").map(PathBuf::from),
            env,
        }
    }

    /// Kong's `off` is no plugin at all.
    fn plugins(&self) -> Vec<String> {
        let mut names = self.list("plugins", "bundled");
        names.retain(|name| name != "off");
        names
    }

    fn optional(&self, name: &str) -> Option<String> {
        Some(self.text(name, "")).filter(|value| !value.is_empty())
    }

    /// The files of `ssl_cert` with those of `ssl_cert_key`, one by one.
    fn certificates(&mut self) -> Vec<(PathBuf, PathBuf)> {
        let (certs, keys) = (self.list("ssl_cert", ""), self.list("ssl_cert_key", ""));
        if certs.len() != keys.len() {
            self.errors.push(format!(
                "ssl_cert names {} files and ssl_cert_key {}: each certificate needs its key",
                certs.len(),
                keys.len()
            ));
        }
        certs.iter().map(PathBuf::from).zip(keys.iter().map(PathBuf::from)).collect()
    }

    fn level(&mut self) -> String {
        const LEVELS: [&str; 9] =
            ["trace", "debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"];
        let read = |v: &str| LEVELS.contains(&v).then(|| v.to_owned());
        let expected = "trace, debug, info, notice, warn, error, crit, alert or emerg";
        self.parse("log_level", "notice", expected, read).unwrap_or_default()
    }

    fn error_type(&mut self) -> String {
        const TYPES: [&str; 4] = ["application/json", "application/xml", "text/html", "text/plain"];
        let read = |v: &str| TYPES.contains(&v).then(|| v.to_owned());
        let expected = "application/json, application/xml, text/html or text/plain";
        self.parse("error_default_type", "text/plain", expected, read).unwrap_or_default()
    }

    fn error_templates(&self) -> BTreeMap<&'static str, PathBuf> {
        let formats = ["html", "json", "xml", "plain"].into_iter();
        formats
            .filter_map(|format| {
                let path = self.optional(&format!("error_template_{format}"))?;
                Some((format, PathBuf::from(path)))
            })
            .collect()
    }

    fn router_flavor(&mut self) -> RouterFlavor {
        let read = |v: &str| match v {
            "traditional_compatible" => Some(RouterFlavor::TraditionalCompatible),
            "expressions" => Some(RouterFlavor::Expressions),
            _ => None,
        };
        let expected = "traditional_compatible or expressions (traditional is not built: \
                        docs/compatibility.md lists in what it differs)";
        self.parse("router_flavor", "traditional_compatible", expected, read).unwrap_or_default()
    }

    fn format(&mut self) -> LogFormat {
        let read = |v: &str| match v {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        };
        self.parse("silverback_log_format", "text", "text or json", read).unwrap_or(LogFormat::Text)
    }

    /// The first word of `proxy_access_log`: nginx adds a format after it.
    fn access_log(&self) -> Option<PathBuf> {
        let value = self.text("proxy_access_log", "/dev/stdout");
        let path = value.split_whitespace().next().unwrap_or("off");
        (path != "off").then(|| PathBuf::from(path))
    }

    fn tokens(&self) -> Tokens {
        let list = self.list("headers", "server_tokens, latency_tokens, X-Kong-Request-Id");
        let has =
            |names: &[&str]| list.iter().any(|t| names.iter().any(|n| n.eq_ignore_ascii_case(t)));
        Tokens {
            server: has(&["server_tokens", "Server"]),
            via: has(&["server_tokens", "Via"]),
            proxy_latency: has(&["latency_tokens", "X-Kong-Proxy-Latency"]),
            upstream_latency: has(&["latency_tokens", "X-Kong-Upstream-Latency"]),
            response_latency: has(&["latency_tokens", "X-Kong-Response-Latency"]),
            request_id: has(&["X-Kong-Request-Id"]),
            upstream_status: has(&["X-Kong-Upstream-Status"]),
        }
    }

    fn networks(&mut self) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for text in self.list("trusted_ips", "") {
            let address = text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            match text.parse::<IpNet>().ok().or(address) {
                Some(network) => networks.push(network),
                None if text == "unix:" => {}
                None => self.errors.push(format!(
                    "trusted_ips: '{text}' is not an address or a range such as 10.0.0.0/8"
                )),
            }
        }
        networks
    }
}

#[cfg(test)]
mod tests;
