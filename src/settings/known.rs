//! The names of settings: ours, and Kong's that have no effect here.

use super::{clients, dns, listener_tls, proxy_ssl};
use crate::distance::distance;

/// Properties that hold secrets. Kong prints stars for them.
pub(super) const SENSITIVE: &[&str] = &[
    "admin_gui_ssl_cert_key",
    "admin_ssl_cert_key",
    "client_ssl_cert_key",
    "cluster_cert_key",
    "debug_ssl_cert_key",
    "declarative_config_string",
    "pg_password",
    "pg_ro_password",
    "proxy_server",
    "ssl_cert_key",
    "status_ssl_cert_key",
];

/// Properties that are read, beside those that the files of their own list.
const READ: &[&str] = &[
    "proxy_listen",
    "status_listen",
    "port_maps",
    "nginx_worker_processes",
    "nginx_main_worker_processes",
    "nginx_events_worker_connections",
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
    "nginx_proxy_real_ip_header",
    "nginx_proxy_real_ip_recursive",
    "router_flavor",
    "plugins",
    "lua_package_path",
    "tracing_instrumentations",
    "tracing_sampling_rate",
    "lua_socket_pool_size",
    "mem_cache_size",
    "nginx_http_lua_shared_dict",
    "lua_ssl_trusted_certificate",
    "ssl_cert",
    "ssl_cert_key",
    "status_ssl_cert",
    "status_ssl_cert_key",
    "upstream_keepalive_pool_size",
    "upstream_keepalive_idle_timeout",
    "upstream_keepalive_max_requests",
    "client_body_buffer_size",
    "client_max_body_size",
    "declarative_config",
    "declarative_config_string",
    "vault_env_prefix",
    "untrusted_lua",
    "untrusted_lua_sandbox_environment",
    "untrusted_lua_sandbox_requires",
    "silverback_log_format",
    "silverback_lua_vm_memory",
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
    "_debug_pg_ttl_cleanup_interval",
    "admin_access_log",
    "admin_error_log",
    "admin_listen",
    "admin_ssl_cert",
    "admin_ssl_cert_key",
    "anonymous_reports",
    "database",
    "dedicated_config_processing",
    "host_ports",
    "kic",
    "license_data",
    "license_path",
    "log_levels",
    "lua_max_post_args",
    "lua_max_req_headers",
    "lua_max_resp_headers",
    "lua_max_uri_args",
    "lua_package_cpath",
    "node_id",
    "openresty_path",
    "password",
    "pluginserver_names",
    "prefix",
    "privileged_worker",
    "proxy_error_log",
    "proxy_server",
    "proxy_server_ssl_verify",
    "proxy_stream_access_log",
    "proxy_stream_error_log",
    "request_debug",
    "request_debug_token",
    "resolver_mem_cache_size",
    "role",
    "router_consistency",
    "ssl_dhparam",
    "status_access_log",
    "status_error_log",
    "stream_listen",
    "tls_certificate_verify",
    "vaults",
    "via_header_comply_rfc",
    "worker_consistency",
    "worker_events_max_payload",
    "worker_state_update_frequency",
];

/// Families of Kong's properties that are accepted and do nothing. The first three are what Kong
/// itself takes any name of.
const IGNORED_FAMILIES: &[&str] = &[
    "nginx_",
    "pluginserver_",
    "vault_",
    "admin_gui_",
    "cassandra_",
    "cluster_",
    "db_",
    "debug_",
    "lmdb_",
    "lua_ssl_",
    "opentelemetry_",
    "pg_",
    "portal_",
    "tracing_",
    "vitals_",
    "wasm",
];

/// Properties that have a meaning here.
fn read() -> impl Iterator<Item = &'static str> {
    let own = READ.iter().chain(listener_tls::NAMES).copied();
    own.chain(proxy_ssl::names()).chain(dns::names())
}

/// Whether a property is read.
fn is_read(name: &str) -> bool {
    let directive = || clients::BLOCKS.iter().find_map(|block| name.strip_prefix(block));
    read().any(|known| known == name)
        || directive().is_some_and(|directive| clients::DIRECTIVES.contains(&directive))
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
        "wasm" if !matches!(value, "off" | "false") => {
            Some("WebAssembly filters are not built; none will run".into())
        }
        _ => None,
    }
}

/// The property that a misspelt name most likely meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let candidates = read().chain(IGNORED.iter().copied());
    let candidates = candidates.map(|known| (distance(name, known), known));
    candidates.min().filter(|(distance, _)| *distance <= 3).map(|(_, known)| known)
}
