//! kong.conf, `KONG_*`, `SILVERBACK_*`, `AZURE_*`: the only reader of the environment.
//!
//! A property `x` comes from a flag, else from `KONG_X`, else from kong.conf, else from its
//! default. Names and defaults are Kong's; what Kong has no name for starts with `silverback_`.

mod checks;
mod clients;
mod dns;
mod env;
mod known;
mod layers;
mod listen;
mod listener_tls;
mod proxy_ssl;
mod reference;
mod shared_dicts;
mod text;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::entity::Secret;
use layers::Layers;

pub use clients::Clients;
pub use dns::{DnsSettings, RecordKind};
pub use env::Env;
pub use listen::{Keepalive, Listen};
pub use listener_tls::{CIPHERS, ListenerTls};
pub use proxy_ssl::{ProxySsl, TlsVersion};
pub use reference::{Reference, Unresolved, Vault, is_reference};

/// Everything that is decided before the first request.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients connect.
    pub proxy_listen: Vec<Listen>,
    /// `/status` and `/metrics`.
    pub status_listen: Vec<Listen>,
    /// The port that clients see, by our own (`port_maps`).
    pub port_maps: BTreeMap<u16, u16>,
    /// What clients may do, and how long.
    pub clients: Clients,
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
    /// How names are resolved.
    pub dns: DnsSettings,
    /// How connections to upstreams are encrypted.
    pub proxy_ssl: ProxySsl,
    /// Where Lua modules are looked for.
    pub lua_package_path: String,
    /// Which spans there are for Lua plugins: `off`, `all`, or their kinds.
    pub tracing_instrumentations: Vec<String>,
    /// The share of requests whose spans are told, from 0 to 1.
    pub tracing_sampling_rate: f64,
    /// Idle connections in a pool of Lua code.
    pub lua_socket_pool_size: usize,
    /// Shared dictionaries beside Kong's, with their sizes in bytes, and Kong's of another size.
    pub shared_dicts: Vec<(String, usize)>,
    /// The most memory that the Lua VM of a worker may have, bytes; 0 is no limit
    /// (`silverback_lua_vm_memory`).
    pub lua_vm_memory: usize,
    /// What Lua code in the configuration may do (`untrusted_lua`).
    pub untrusted_lua: UntrustedLua,
    /// Modules that sandboxed code may load.
    pub sandbox_requires: Vec<String>,
    /// Global variables, dotted, that sandboxed code may read.
    pub sandbox_environment: Vec<String>,
    /// Trusted certificates beside the system's.
    pub trusted_certificates: Vec<PathBuf>,
    /// Certificates and keys of TLS listeners, for names that the configuration does not have.
    pub ssl_cert: Vec<(PathBuf, PathBuf)>,
    /// The same for `status_listen`.
    pub status_ssl_cert: Vec<(PathBuf, PathBuf)>,
    /// How TLS listeners speak.
    pub listener_tls: ListenerTls,
    /// Idle upstream connections a worker keeps.
    pub keepalive_pool_size: usize,
    /// Milliseconds an idle upstream connection lives.
    pub keepalive_idle_ms: u64,
    /// Requests one upstream connection serves.
    pub keepalive_max_requests: u64,
    /// Bytes of bodies the process holds in memory (`silverback_buffer_budget`).
    pub buffer_budget: usize,
    /// Largest body that is read whole, bytes (`silverback_buffer_limit`).
    pub buffer_limit: usize,
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
    /// The settings that are set and that nobody is to read: plugins see that they are there.
    pub hidden: Vec<&'static str>,
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

/// Kong's flavours of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RouterFlavor {
    /// By criteria: paths, hosts, methods, headers, SNIs.
    #[default]
    TraditionalCompatible,
    /// By criteria or by an expression.
    Expressions,
    /// By criteria, in the ways of Kong before 3.0.
    Traditional,
}

impl RouterFlavor {
    /// Kong's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TraditionalCompatible => "traditional_compatible",
            Self::Expressions => "expressions",
            Self::Traditional => "traditional",
        }
    }
}

/// What Lua code in the configuration may do: Kong's `untrusted_lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UntrustedLua {
    /// It does not run.
    Off,
    /// It sees requests and responses: no shared memory, no timers, no modules of its own choosing.
    Strict,
    /// A safe standard library, `kong` without secrets, `ngx`, and the modules that are listed.
    #[default]
    Sandbox,
    /// Whatever a plugin may.
    On,
}

impl UntrustedLua {
    /// Kong's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Strict => "strict",
            Self::Sandbox => "sandbox",
            Self::On => "on",
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
    /// `X-Silverback-Overhead-Us`.
    pub overhead: bool,
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
        match usize::try_from(self.clients.body_max) {
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

#[cfg(test)]
mod tests;
