use super::text::size;
use super::*;

fn read(env: &[(&str, &str)], conf: &str) -> Result<Read, Vec<String>> {
    Settings::read(&Flags::new(), env.iter().copied().collect(), Some(conf))
}

#[test]
fn the_environment_stands_above_the_file() {
    let conf = "log_level = debug # loud\nproxy_listen = 127.0.0.1:1\n#plugins = x\n";
    let read = read(&[("KONG_PROXY_LISTEN", "127.0.0.1:2")], conf).ok().unwrap();
    assert_eq!(read.settings.proxy_listen[0].address.port(), 2);
    assert_eq!(read.settings.log_level, "debug");
    assert!(read.warnings.is_empty());
}

#[test]
fn a_setting_may_be_a_vault_reference() {
    let conf = "vault_env_prefix = app_\nlog_level = {vault://env/level}\n";
    let read = read(&[("APP_LEVEL", "debug")], conf).ok().unwrap();
    assert_eq!(read.settings.log_level, "debug");
    assert_eq!(read.settings.env.get("KONG_VAULT_ENV_PREFIX"), Some("app_"));
}

#[test]
fn a_vault_reference_that_fails_stops_the_start() {
    let conf = "log_level = {vault://env/level}\nsilverback_drain_secs = {vault://hcv/x}\n";
    let errors = read(&[("KONG_PLUGINS", "{vault://env}")], conf).err().unwrap();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].ends_with(
        "the vault reference of 'log_level' cannot be resolved: environment variable 'LEVEL' \
         is not set"
    ));
    assert!(errors[1].starts_with("KONG_PLUGINS: "), "{errors:?}");
    assert!(errors[2].contains("there is no vault 'hcv'"), "{errors:?}");
}

#[test]
fn the_value_of_a_reference_is_in_no_error() {
    let conf = "silverback_drain_secs = {vault://env/secs}\n";
    let errors = read(&[("SECS", "hunter2")], conf).err().unwrap();
    assert!(!errors.concat().contains("hunter2"), "{errors:?}");
}

#[test]
fn a_misspelt_setting_names_the_nearest_one() {
    let read = read(&[("KONG_PROXY_LISTN", "off")], "").ok().unwrap();
    assert_eq!(
        read.warnings,
        ["KONG_PROXY_LISTN: no such setting, it is ignored; did you mean 'proxy_listen'?"]
    );
}

#[test]
fn every_bad_value_is_reported_at_once() {
    let errors = read(&[("KONG_LOG_LEVEL", "loud")], "trusted_ips = 10.0.0.0/99").err().unwrap();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("KONG_LOG_LEVEL: 'loud' is not trace, debug, info"));
}

#[test]
fn sizes_have_units() {
    assert_eq!(size("16m"), Some(16 << 20));
    assert_eq!(size("x"), None);
    assert_eq!(size("99999999999999999g"), None);
}

#[test]
fn a_misspelt_setting_is_told_also_when_another_one_is_an_error() {
    let errors = read(&[("KONG_LOG_LEVL", "debug"), ("KONG_TRUSTED_IPS", "x")], "").err().unwrap();
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[0].starts_with("trusted_ips: 'x' is not"), "{errors:?}");
    assert!(errors[1].starts_with("warning: KONG_LOG_LEVL: no such setting"), "{errors:?}");
}

#[test]
fn settings_that_mean_nothing_here_are_named_in_one_line() {
    let env = [("KONG_PG_HOST", "db"), ("KONG_MEM_CACHE_SIZE", "64m"), ("KONG_DATABASE", "off")];
    let read = read(&env, "admin_gui_listen = off").ok().unwrap();
    let line = "settings of Kong without an effect here: mem_cache_size, pg_host";
    assert_eq!(read.warnings, [line]);
}

#[test]
fn off_is_no_plugin_at_all() {
    assert!(read(&[("KONG_PLUGINS", "off")], "").ok().unwrap().settings.plugins.is_empty());
}

#[test]
fn an_inline_configuration_is_not_in_debug_output() {
    let read = read(&[("KONG_DECLARATIVE_CONFIG_STRING", "key: sesame")], "").ok().unwrap();
    let text = read.settings.declarative_config_string.as_ref().map(|text| text.expose());
    assert_eq!(text, Some("key: sesame"));
    assert!(!format!("{:?}", read.settings).contains("sesame"));
}

/// The properties of Kong's configuration reference that its users set most.
const OF_KONG: &[&str] = &[
    "proxy_listen",
    "admin_listen",
    "status_listen",
    "admin_gui_listen",
    "database",
    "declarative_config",
    "declarative_config_string",
    "plugins",
    "vaults",
    "log_level",
    "headers",
    "headers_upstream",
    "trusted_ips",
    "real_ip_header",
    "real_ip_recursive",
    "error_default_type",
    "router_flavor",
    "upstream_keepalive_pool_size",
    "upstream_keepalive_max_requests",
    "upstream_keepalive_idle_timeout",
    "nginx_http_client_max_body_size",
    "nginx_http_client_body_buffer_size",
    "worker_consistency",
    "worker_state_update_frequency",
    "untrusted_lua",
    "tls_certificate_verify",
    "allow_debug_header",
    "request_debug",
    "lua_package_path",
    "lua_ssl_trusted_certificate",
    "role",
    "error_template_html",
    "error_template_json",
    "error_template_xml",
    "error_template_plain",
    "mem_cache_size",
    "lmdb_map_size",
    "via_header_comply_rfc",
    "vault_env_prefix",
    "anonymous_reports",
];

#[test]
fn every_setting_that_a_kong_user_sets_is_known() {
    let unknown: Vec<_> = OF_KONG.iter().filter(|name| !known::is_known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn no_known_setting_is_taken_for_another() {
    for name in OF_KONG {
        let misspelt = format!("{name}x");
        let near = known::nearest(&misspelt);
        assert!(known::is_known(&misspelt) || near == Some(*name), "{misspelt}: {near:?}");
    }
}
