//! `kong.configuration`: the settings that a plugin may read. Secrets are not among them.

use mlua::{Lua, Table, Value};
use serde_json::{Map, json};

use super::{Options, json, modules};
use crate::settings::{Listen, Settings, Tokens};

/// The settings by Kong's names.
pub(super) fn of(settings: &Settings) -> Map<String, serde_json::Value> {
    let networks: Vec<String> = settings.trusted_ips.iter().map(ToString::to_string).collect();
    let headers_upstream = settings.request_id_upstream.then_some("x-kong-request-id");
    let headers_upstream: Vec<_> = headers_upstream.into_iter().collect();
    let values = json!({
        "allow_debug_header": settings.allow_debug_header,
        "database": "off",
        "enabled_headers": enabled_headers(settings.headers),
        "error_default_type": settings.error_default_type,
        "headers_upstream": headers_upstream,
        "log_level": settings.log_level,
        "lua_max_req_headers": 100,
        "lua_max_resp_headers": 100,
        "lua_max_uri_args": 100,
        "lua_max_post_args": 100,
        "lua_package_path": settings.lua_package_path,
        "nginx_worker_processes": settings.workers.to_string(),
        "plugins": settings.plugins,
        "real_ip_header": settings.real_ip_header,
        "real_ip_recursive": if settings.real_ip_recursive { "on" } else { "off" },
        "role": "traditional",
        "trusted_ips": networks,
        "untrusted_lua_sandbox_environment": settings.sandbox_environment,
        "untrusted_lua_sandbox_requires": settings.sandbox_requires,
        "upstream_keepalive_pool_size": settings.keepalive_pool_size,
        "tracing_instrumentations": settings.tracing_instrumentations,
        "tracing_sampling_rate": settings.tracing_sampling_rate,
        "upstream_keepalive_max_requests": settings.keepalive_max_requests,
        "upstream_keepalive_idle_timeout": settings.keepalive_idle_ms / 1000,
    });
    let mut all = object(defaults());
    all.extend(object(values));
    all.extend(listeners(settings));
    // What Kong leaves of a secret where it shows its settings.
    all.extend(settings.hidden.iter().map(|name| ((*name).to_owned(), "******".into())));
    all
}

/// Where this gateway listens, and which plugins it has, as Kong's tables say it.
fn listeners(settings: &Settings) -> Map<String, serde_json::Value> {
    let text = |listen: &Listen| {
        let (ssl, http2) = (if listen.tls { " ssl" } else { "" }, listen.http2);
        format!("{}{ssl}{}", listen.address, if http2 { " http2" } else { "" })
    };
    let shown = |listens: &[Listen]| listens.iter().map(text).collect::<Vec<_>>();
    let parsed = |listens: &[Listen]| {
        let one = |listen: &Listen| {
            json!({
                "ip": listen.address.ip().to_string(), "port": listen.address.port(),
                "ssl": listen.tls, "http2": listen.http2, "listener": text(listen),
            })
        };
        listens.iter().map(one).collect::<Vec<_>>()
    };
    let mut loaded = Map::new();
    for name in &settings.plugins {
        if name == "bundled" {
            loaded.extend(modules::bundled_plugins().map(|name| (name.to_owned(), true.into())));
        } else {
            loaded.insert(name.clone(), true.into());
        }
    }
    object(json!({
        "proxy_listen": shown(&settings.proxy_listen),
        "proxy_listeners": parsed(&settings.proxy_listen),
        "status_listen": shown(&settings.status_listen),
        "status_listeners": parsed(&settings.status_listen),
        "port_maps": settings.port_maps.iter().map(|(from, to)| format!("{from}:{to}"))
            .collect::<Vec<_>>(),
        "loaded_plugins": loaded,
        "lua_socket_pool_size": settings.lua_socket_pool_size,
    }))
}

/// Settings of Kong's that steer nothing here, with its defaults: plugins read some of them.
fn defaults() -> serde_json::Value {
    json!({
        "admin_listen": [], "admin_listeners": [], "anonymous_reports": false,
        "cluster_rpc": false, "db_cache_ttl": 0, "db_resurrect_ttl": 30,
        "db_update_frequency": 5, "db_update_propagation": 0, "dns_cache_size": 10_000,
        "dns_hostsfile": "/etc/hosts", "dns_order": ["LAST", "SRV", "A", "CNAME"],
        "dns_stale_ttl": 3600, "headers": ["server_tokens", "latency_tokens", "X-Kong-Request-Id"],
        "loaded_vaults": { "env": true }, "lua_ssl_protocols": "TLSv1.2 TLSv1.3",
        "lua_ssl_verify_depth": 1, "mem_cache_size": "128m", "new_dns_client": false,
        "nginx_daemon": "off", "nginx_http_client_body_buffer_size": "8k",
        "nginx_http_client_max_body_size": "0", "nginx_user": "kong kong",
        "prefix": "/usr/local/kong", "stream_listeners": [], "tracing_instrumentations": ["off"],
        "tracing_sampling_rate": 0.01, "vaults": ["bundled"], "wasm": false,
        "worker_consistency": "eventual", "worker_events_max_payload": 65_535,
        "worker_state_update_frequency": 5,
    })
}

fn object(value: serde_json::Value) -> Map<String, serde_json::Value> {
    match value {
        serde_json::Value::Object(values) => values,
        _ => Map::new(),
    }
}

/// Which headers the gateway adds, by Kong's names and the words of its setting `headers`.
fn enabled_headers(on: Tokens) -> serde_json::Value {
    let latency = on.proxy_latency && on.upstream_latency && on.response_latency;
    json!({
        "Server": on.server,
        "Via": on.via,
        "X-Kong-Admin-Latency": latency,
        "X-Kong-Proxy-Latency": on.proxy_latency,
        "X-Kong-Request-Id": on.request_id,
        "X-Kong-Response-Latency": on.response_latency,
        "X-Kong-Upstream-Latency": on.upstream_latency,
        "X-Kong-Upstream-Status": on.upstream_status,
        "latency_tokens": latency,
        "server_tokens": on.server && on.via,
    })
}

/// The table that Lua sees. It can be read and not written, as in Kong.
pub(super) fn table(lua: &Lua, options: &Options) -> mlua::Result<Table> {
    let values = lua.create_table()?;
    for (name, value) in &options.configuration {
        values.set(name.as_str(), json::to_lua(lua, value)?)?;
    }
    values.set("router_flavor", options.router_flavor.name())?;
    values.set("untrusted_lua", options.untrusted_lua.name())?;
    let table = lua.create_table()?;
    let this = table.clone();
    // There are no secrets in it to remove: each is stars already.
    values.set("remove_sensitive", lua.create_function(move |_, ()| Ok(this.clone()))?)?;
    let meta = lua.create_table()?;
    meta.set("__index", values)?;
    let refuse = |_: &Lua, _: mlua::MultiValue| -> mlua::Result<()> {
        Err(mlua::Error::runtime("cannot write to configuration"))
    };
    meta.set("__newindex", lua.create_function(refuse)?)?;
    meta.set("__metatable", Value::Boolean(false))?;
    table.set_metatable(Some(meta))?;
    Ok(table)
}
