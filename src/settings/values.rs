//! The properties one by one: name, default, and what a value may be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ipnet::IpNet;

use super::layers::Layers;
use super::{Env, LogFormat, RouterFlavor, Settings, Tokens};
use crate::entity::Secret;

impl Layers {
    pub(super) fn settings(&mut self, env: Env) -> Settings {
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
            dns: self.dns(),
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

    pub(super) fn optional(&self, name: &str) -> Option<String> {
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
