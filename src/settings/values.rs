//! The properties one by one: name, default, and what a value may be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;

use super::layers::Layers;
use super::{Env, Listen, LogFormat, RouterFlavor, Settings, Tokens, UntrustedLua, known};
use crate::entity::Secret;

/// Kong's default.
const PROXY_LISTEN: &str = "0.0.0.0:8000 reuseport backlog=16384, \
    0.0.0.0:8443 http2 ssl reuseport backlog=16384";

/// What `headers` may name.
const HEADERS: [&str; 12] = [
    "off",
    "server_tokens",
    "latency_tokens",
    "Via",
    "Server",
    "X-Kong-Proxy-Latency",
    "X-Kong-Response-Latency",
    "X-Kong-Admin-Latency",
    "X-Kong-Upstream-Latency",
    "X-Kong-Upstream-Status",
    "X-Kong-Request-Id",
    "X-Silverback-Overhead-Us",
];

impl Layers {
    pub(super) fn settings(&mut self, env: Env) -> Settings {
        let count = self.workers();
        let proxy_listen = self.listens("proxy_listen", PROXY_LISTEN);
        let status_listen = self.listens("status_listen", "127.0.0.1:8007");
        let has_tls = |list: &[Listen]| list.iter().any(|listen| listen.tls);
        let (proxy_tls, status_tls) = (has_tls(&proxy_listen), has_tls(&status_listen));
        Settings {
            proxy_listen,
            status_listen,
            port_maps: self.port_maps(),
            clients: self.clients(count),
            workers: count,
            log_level: self.level(),
            log_format: self.format(),
            access_log: self.access_log(),
            headers: self.tokens(),
            allow_debug_header: self.flag("allow_debug_header", "off"),
            request_id_upstream: self.request_id_upstream(),
            error_default_type: self.error_type(),
            error_templates: self.error_templates(),
            trusted_ips: self.networks(),
            real_ip_header: self
                .text(self.alias("real_ip_header", "nginx_proxy_real_ip_header"), "X-Real-IP")
                .to_ascii_lowercase(),
            real_ip_recursive: self
                .flag(self.alias("real_ip_recursive", "nginx_proxy_real_ip_recursive"), "off"),
            router_flavor: self.router_flavor(),
            plugins: self.plugins(),
            tracing_instrumentations: self.list("tracing_instrumentations", "off"),
            tracing_sampling_rate: self.rate("tracing_sampling_rate", "0.01"),
            lua_package_path: self.text("lua_package_path", "./?.lua;./?/init.lua;"),
            lua_socket_pool_size: self.number("lua_socket_pool_size", 256) as usize,
            shared_dicts: self.shared_dicts(),
            lua_vm_memory: self.size("silverback_lua_vm_memory", "1g") as usize,
            untrusted_lua: self.untrusted_lua(),
            sandbox_requires: self.list("untrusted_lua_sandbox_requires", ""),
            sandbox_environment: self.list("untrusted_lua_sandbox_environment", ""),
            trusted_certificates: self.trusted_certificates(),
            dns: self.dns(),
            ssl_cert: self.certificates("ssl_cert", proxy_tls),
            status_ssl_cert: self.certificates("status_ssl_cert", status_tls),
            listener_tls: self.listener_tls(proxy_tls || status_tls),
            proxy_ssl: self.proxy_ssl(),
            keepalive_pool_size: self.number("upstream_keepalive_pool_size", 512) as usize,
            keepalive_idle_ms: self
                .number("upstream_keepalive_idle_timeout", 60)
                .saturating_mul(1000),
            keepalive_max_requests: self.number("upstream_keepalive_max_requests", 10_000),
            buffer_budget: self.size("silverback_buffer_budget", "512m") as usize,
            buffer_limit: self.size("silverback_buffer_limit", "64m") as usize,
            stream_max_secs: self.number("silverback_stream_max_secs", 3600),
            drain_secs: self.number("silverback_drain_secs", 30),
            metadata_guard: self.flag("silverback_metadata_guard", "on"),
            declarative_config: self.optional("declarative_config"),
            declarative_config_string: self
                .optional("declarative_config_string")
                .map(|text| Secret::new(&text)),
            env_file: self.optional("silverback_env_file").map(PathBuf::from),
            hidden: self.hidden(),
            env,
        }
    }

    /// Names of secrets that are set.
    fn hidden(&self) -> Vec<&'static str> {
        let is_set = |name: &&&str| self.optional(name).is_some();
        known::SENSITIVE.iter().filter(is_set).copied().collect()
    }

    /// Kong's `off` is no plugin at all.
    fn plugins(&self) -> Vec<String> {
        let mut names = self.list("plugins", "bundled");
        names.retain(|name| name != "off");
        names
    }

    pub(super) fn optional(&self, name: &str) -> Option<String> {
        Some(self.text(name, "")).filter(|value| !value.is_empty())
    }

    /// nginx' own name for it counts where Kong's is not set.
    fn alias(&self, name: &'static str, nginx: &'static str) -> &'static str {
        if !self.has(name) && self.has(nginx) { nginx } else { name }
    }

    fn workers(&mut self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = |v: &str| {
            if v == "auto" { Some(cores) } else { v.parse().ok().filter(|n| (1..=256).contains(n)) }
        };
        let name = self.alias("nginx_worker_processes", "nginx_main_worker_processes");
        let expected = "a number of workers from 1 to 256, or auto";
        self.parse(name, "auto", expected, workers).unwrap_or(1)
    }

    /// The files of `ssl_cert` with those of `ssl_cert_key`, one by one. Kong looks at them only if
    /// there is a listener for them.
    fn certificates(&mut self, name: &str, has_listener: bool) -> Vec<(PathBuf, PathBuf)> {
        let key = format!("{name}_key");
        let (certs, keys) = (self.list(name, ""), self.list(&key, ""));
        let (cert_count, key_count) = (certs.len(), keys.len());
        match (cert_count, key_count) {
            _ if !has_listener => {}
            (1.., 0) => self.refuse(&key, &format!("{key} must be specified")),
            (0, 1..) => self.refuse(name, &format!("{name} must be specified")),
            (certs, keys) if certs != keys => {
                let message = format!(
                    "{name} was specified {certs} times while {key} was specified {keys} times"
                );
                self.refuse(name, &message);
            }
            _ => {}
        }
        certs.iter().map(PathBuf::from).zip(keys.iter().map(PathBuf::from)).collect()
    }

    /// `host:kong`, the ports that a container or a balancer maps.
    fn port_maps(&mut self) -> BTreeMap<u16, u16> {
        let mut maps = BTreeMap::new();
        for map in self.list("port_maps", "") {
            let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
            let pair = map.split_once(':');
            match pair.and_then(|(host, kong)| Some((port(kong)?, port(host)?))) {
                Some((kong, host)) => _ = maps.insert(kong, host),
                None => {
                    let message = format!("invalid port mapping (`port_maps`): {map}");
                    self.refuse("port_maps", &message);
                }
            }
        }
        maps
    }

    fn level(&self) -> String {
        self.text("log_level", "notice")
    }

    fn error_type(&self) -> String {
        self.text("error_default_type", "text/plain")
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
            "traditional" => Some(RouterFlavor::Traditional),
            _ => None,
        };
        let expected = "traditional_compatible, traditional or expressions";
        self.parse("router_flavor", "traditional_compatible", expected, read).unwrap_or_default()
    }

    /// Kong's names, `lax` among them, which Kong Enterprise has for `sandbox`.
    fn untrusted_lua(&mut self) -> UntrustedLua {
        let read = |v: &str| match v {
            "off" => Some(UntrustedLua::Off),
            "strict" => Some(UntrustedLua::Strict),
            "sandbox" | "lax" => Some(UntrustedLua::Sandbox),
            "on" => Some(UntrustedLua::On),
            _ => None,
        };
        self.parse("untrusted_lua", "sandbox", "on, off, sandbox or strict", read)
            .unwrap_or_default()
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

    fn tokens(&mut self) -> Tokens {
        let list = self.list("headers", "server_tokens, latency_tokens, X-Kong-Request-Id");
        for token in &list {
            if !HEADERS.iter().any(|known| known.eq_ignore_ascii_case(token)) {
                self.refuse("headers", &format!("headers: invalid entry '{token}'"));
            }
        }
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
            overhead: has(&["X-Silverback-Overhead-Us"]),
        }
    }

    fn request_id_upstream(&mut self) -> bool {
        let list = self.list("headers_upstream", "X-Kong-Request-Id");
        let is_id = |token: &String| token.eq_ignore_ascii_case("X-Kong-Request-Id");
        for token in list.iter().filter(|token| !is_id(token) && *token != "off") {
            self.refuse("headers_upstream", &format!("headers_upstream: invalid entry '{token}'"));
        }
        list.iter().any(is_id)
    }

    /// Peers on a socket of the file system (`unix:`) do not exist here.
    fn networks(&mut self) -> Vec<IpNet> {
        let mut networks = Vec::new();
        for text in self.list("trusted_ips", "") {
            let address = text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            match text.parse::<IpNet>().ok().or(address) {
                Some(network) => networks.push(network),
                None if text == "unix:" => {}
                None => {
                    let message = format!(
                        "trusted_ips must be a comma separated list in the form of IPv4 or IPv6 \
                         address or CIDR block or 'unix:', got '{text}'"
                    );
                    self.refuse("trusted_ips", &message);
                }
            }
        }
        networks
    }
}
