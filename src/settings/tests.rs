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
    assert!(
        errors[0].starts_with("KONG_LOG_LEVEL: log_level has an invalid value: 'loud' (trace, ")
    );
    assert_eq!(
        errors[1],
        "kong.conf:1: trusted_ips must be a comma separated list in the form of IPv4 or IPv6 \
         address or CIDR block or 'unix:', got '10.0.0.0/99'"
    );
}

#[test]
fn everybody_and_sockets_can_be_trusted() {
    let read = read(&[("KONG_TRUSTED_IPS", "0.0.0.0/0,::/0, unix:, 10.0.0.1")], "").ok().unwrap();
    assert_eq!(read.settings.trusted_ips.len(), 3);
}

#[test]
fn kongs_name_stands_above_nginx_own() {
    let conf = "nginx_proxy_real_ip_header = X-A\nnginx_main_worker_processes = 3";
    let nginx = read(&[], conf).ok().unwrap().settings;
    assert_eq!((nginx.real_ip_header.as_str(), nginx.workers), ("x-a", 3));
    let kong = read(&[("KONG_REAL_IP_HEADER", "X-B")], conf).ok().unwrap().settings;
    assert_eq!(kong.real_ip_header, "x-b");
}

#[test]
fn ports_are_mapped_from_ours_to_the_clients() {
    let settings = read(&[("KONG_PORT_MAPS", "80:8000, 443:8443")], "").ok().unwrap().settings;
    assert_eq!(settings.port_maps, [(8000, 80), (8443, 443)].into());
    for text in ["80", "80:", "0:1", "80:99999"] {
        let errors = read(&[("KONG_PORT_MAPS", text)], "").err().unwrap();
        let expected = format!("KONG_PORT_MAPS: invalid port mapping (`port_maps`): {text}");
        assert_eq!(errors, [expected]);
    }
}

#[test]
fn each_certificate_has_its_key_in_kongs_words() {
    for (cert, key, error) in [
        ("a.pem", "", "ssl_cert_key must be specified"),
        ("", "a.key", "ssl_cert must be specified"),
        (
            "a.pem,b.pem",
            "a.key",
            "ssl_cert was specified 2 times while ssl_cert_key was specified 1 times",
        ),
    ] {
        let env = [("KONG_SSL_CERT", cert), ("KONG_SSL_CERT_KEY", key)];
        let errors = read(&env, "").err().unwrap();
        assert!(errors[0].ends_with(error), "{errors:?}");
        assert!(read(&env, "proxy_listen = 127.0.0.1:0").is_ok(), "nobody looks at them");
    }
}

#[test]
fn headers_are_those_that_kong_knows() {
    let env = [("KONG_HEADERS", "server_tokens, X-Own"), ("KONG_HEADERS_UPSTREAM", "X-Own")];
    let errors = read(&env, "").err().unwrap();
    assert_eq!(
        errors,
        [
            "KONG_HEADERS: headers: invalid entry 'X-Own'",
            "KONG_HEADERS_UPSTREAM: headers_upstream: invalid entry 'X-Own'"
        ]
    );
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
    assert!(errors[0].starts_with("KONG_TRUSTED_IPS: trusted_ips must be"), "{errors:?}");
    assert!(errors[1].starts_with("warning: KONG_LOG_LEVL: no such setting"), "{errors:?}");
}

#[test]
fn settings_that_mean_nothing_here_are_named_in_one_line() {
    let env = [("KONG_PG_HOST", "db"), ("KONG_NODE_ID", "a"), ("KONG_DATABASE", "off")];
    let read = read(&env, "admin_gui_listen = off").ok().unwrap();
    let line = "settings of Kong without an effect here: node_id, pg_host";
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

/// Every property of Kong's configuration reference and of its defaults.
const OF_KONG: &str = include_str!("tests/kong_names.txt");

#[test]
fn every_setting_that_a_kong_user_sets_is_known() {
    let unknown: Vec<_> = OF_KONG.lines().filter(|name| !known::is_known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn no_known_setting_is_taken_for_another() {
    for name in OF_KONG.lines() {
        let misspelt = format!("{name}x");
        let near = known::nearest(&misspelt);
        assert!(known::is_known(&misspelt) || near == Some(name), "{misspelt}: {near:?}");
    }
}
