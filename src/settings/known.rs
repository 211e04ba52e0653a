//! The names of settings: ours, and Kong's that have no effect here.

use super::{dns, proxy_ssl};
use crate::distance::distance;

/// Properties that are read.
const READ: &[&str] = &[
    "proxy_listen",
    "status_listen",
    "nginx_worker_processes",
    "log_level",
    "proxy_access_log",
    "headers",
    "headers_upstream",
    "error_default_type",
    "error_template_html",
    "error_template_json",
    "error_template_plain",
    "error_template_xml",
    "allow_debug_header",
    "trusted_ips",
    "real_ip_header",
    "real_ip_recursive",
    "router_flavor",
    "plugins",
    "lua_package_path",
    "lua_ssl_trusted_certificate",
    "ssl_cert",
    "ssl_cert_key",
    "upstream_keepalive_pool_size",
    "upstream_keepalive_idle_timeout",
    "upstream_keepalive_max_requests",
    "nginx_http_client_max_body_size",
    "declarative_config",
    "declarative_config_string",
    "vault_env_prefix",
    "silverback_log_format",
    "silverback_env_file",
    "silverback_buffer_budget",
    "silverback_buffer_limit",
    "silverback_max_connections",
    "silverback_stream_max_secs",
    "silverback_drain_secs",
    "silverback_metadata_guard",
];

/// Kong's properties that are accepted and do nothing: what they steer is nginx, a database, a
/// cluster, or a part of Kong that does not exist here.
const IGNORED: &[&str] = &[
    "admin_access_log",
    "admin_error_log",
    "admin_gui_listen",
    "admin_listen",
    "anonymous_reports",
    "client_body_buffer_size",
    "client_max_body_size",
    "database",
    "db_cache_ttl",
    "db_update_frequency",
    "license_data",
    "license_path",
    "lmdb_map_size",
    "log_levels",
    "lua_package_cpath",
    "lua_socket_pool_size",
    "mem_cache_size",
    "nginx_http_client_body_buffer_size",
    "password",
    "port_maps",
    "prefix",
    "proxy_error_log",
    "proxy_server",
    "request_debug",
    "resolver_mem_cache_size",
    "role",
    "ssl_cipher_suite",
    "ssl_ciphers",
    "ssl_protocols",
    "status_access_log",
    "status_error_log",
    "stream_listen",
    "tls_certificate_verify",
    "untrusted_lua",
    "vaults",
    "via_header_comply_rfc",
    "worker_consistency",
    "worker_state_update_frequency",
];

/// Families of Kong's properties that are accepted and do nothing.
const IGNORED_FAMILIES: &[&str] = &[
    "admin_gui_",
    "cassandra_",
    "cluster_",
    "lmdb_",
    "lua_ssl_",
    "nginx_",
    "opentelemetry_",
    "pg_",
    "portal_",
    "ssl_",
    "tracing_",
    "upstream_keepalive",
    "untrusted_lua_",
    "vault_",
    "vitals_",
    "wasm",
];

/// Whether a property is read.
fn is_read(name: &str) -> bool {
    let elsewhere = || proxy_ssl::names().chain(dns::names()).any(|known| known == name);
    READ.contains(&name) || elsewhere()
}

/// Whether Kong or we have a property of this name.
pub(super) fn is_known(name: &str) -> bool {
    is_read(name)
        || IGNORED.contains(&name)
        || IGNORED_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Whether a property that is set asks for something that nothing here does. What says `off` asks
/// for nothing, and what has a note of its own is told there.
pub(super) fn is_without_effect(name: &str, value: &str) -> bool {
    !is_read(name) && !matches!(value, "" | "off") && note(name, value).is_none()
}

/// What a user should know who sets this property.
pub(super) fn note(name: &str, value: &str) -> Option<String> {
    match name {
        "admin_listen" if value != "off" => {
            Some("the Admin API is not built yet; no listener is opened".into())
        }
        "database" if value != "off" => {
            Some(format!("'{value}' is ignored: the configuration comes from files"))
        }
        "stream_listen" if value != "off" => {
            Some("TCP and UDP proxying are not built; no listener is opened".into())
        }
        _ => None,
    }
}

/// The property that a misspelt name most likely meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let candidates = READ.iter().chain(IGNORED).copied();
    let candidates = candidates.chain(proxy_ssl::names()).chain(dns::names());
    let candidates = candidates.map(|known| (distance(name, known), known));
    candidates.min().filter(|(distance, _)| *distance <= 3).map(|(_, known)| known)
}
