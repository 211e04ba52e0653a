//! What Kong checks of a value before anybody uses it, in its words.
//!
//! This holds also for settings without an effect here: a file that Kong refuses is not taken.

use std::path::Path;

/// Settings that have one of these values.
const ENUMS: &[(&str, &[&str])] = &[
    ("cluster_mtls", &["shared", "pki"]),
    ("cluster_ocsp", &["on", "off", "optional"]),
    ("database", &["postgres", "cassandra", "off"]),
    ("error_default_type", &["application/json", "application/xml", "text/html", "text/plain"]),
    // `trace` is ours.
    ("log_level", &["trace", "debug", "info", "notice", "warn", "error", "crit", "alert", "emerg"]),
    ("role", &["data_plane", "control_plane", "traditional"]),
    ("router_consistency", &["strict", "eventual"]),
    ("router_flavor", &["traditional", "traditional_compatible", "expressions"]),
    // The last two are Kong Enterprise's.
    ("untrusted_lua", &["on", "off", "sandbox", "strict", "lax"]),
    ("worker_consistency", &["strict", "eventual"]),
];

/// Settings that are numbers.
const NUMBERS: &[&str] = &[
    "cluster_data_plane_purge_delay",
    "cluster_max_payload",
    "db_cache_neg_ttl",
    "db_cache_ttl",
    "db_resurrect_ttl",
    "db_update_frequency",
    "db_update_propagation",
    "lua_max_post_args",
    "lua_max_req_headers",
    "lua_max_resp_headers",
    "lua_max_uri_args",
    "lua_socket_pool_size",
    "lua_ssl_verify_depth",
    "opentelemetry_tracing_sampling_rate",
    "pg_backlog",
    "pg_keepalive_timeout",
    "pg_max_concurrent_queries",
    "pg_pool_size",
    "pg_port",
    "pg_ro_backlog",
    "pg_ro_keepalive_timeout",
    "pg_ro_max_concurrent_queries",
    "pg_ro_pool_size",
    "pg_ro_port",
    "pg_ro_semaphore_timeout",
    "pg_ro_timeout",
    "pg_semaphore_timeout",
    "pg_timeout",
    "tracing_sampling_rate",
    "upstream_keepalive_idle_timeout",
    "upstream_keepalive_max_requests",
    "upstream_keepalive_pool_size",
    "worker_events_max_payload",
    "worker_state_update_frequency",
];

/// What is wrong with a value, if Kong or we know it.
pub(super) fn fault(name: &str, value: &str) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    if let Some((_, allowed)) = ENUMS.iter().find(|(known, _)| *known == name)
        && !allowed.contains(&value)
    {
        let allowed = allowed.join(", ");
        return Some(format!("{name} has an invalid value: '{value}' ({allowed})"));
    }
    if NUMBERS.contains(&name) {
        return number_fault(name, value);
    }
    if name == "lua_package_path" {
        let taken = fixed_templates(value).find(|template| Path::new(template).exists());
        return taken.map(|taken| {
            format!("{name}: '{taken}' has no '?', so it would be every module; {}", meant(taken))
        });
    }
    refused(name, value)
}

/// What a user should know of a value that is taken all the same, since Kong takes it.
pub(super) fn doubt(name: &str, value: &str) -> Option<String> {
    let template = fixed_templates(value).next().filter(|_| name == "lua_package_path")?;
    Some(format!("{name}: '{template}' has no '?': no module is found there; {}", meant(template)))
}

/// The parts of a `lua_package_path` in which no name of a module goes.
fn fixed_templates(path: &str) -> impl Iterator<Item = &str> {
    path.split(';')
        .map(str::trim)
        .filter(|template| !template.is_empty() && !template.contains('?'))
}

/// What was probably meant by a template that is a mere folder.
fn meant(template: &str) -> String {
    let folder = template.trim_end_matches('/');
    format!("for a folder write '{folder}/?.lua;{folder}/?/init.lua'")
}

fn number_fault(name: &str, value: &str) -> Option<String> {
    let Some(number) = value.parse::<f64>().ok().filter(|number| number.is_finite()) else {
        return Some(format!("{name} is not a number: '{value}'"));
    };
    let is_whole = number.fract() == 0.0;
    let demand = match name {
        "lua_max_req_headers"
        | "lua_max_resp_headers"
        | "lua_max_uri_args"
        | "lua_max_post_args" => {
            let good = is_whole && (1.0..=1000.0).contains(&number);
            (!good).then_some("must be an integer between 1 and 1000")
        }
        "worker_state_update_frequency" => (number <= 0.0).then_some("must be greater than 0"),
        "tracing_sampling_rate" => {
            (!(0.0..=1.0).contains(&number)).then_some("must be between 0 and 1")
        }
        "cluster_data_plane_purge_delay" => (number < 60.0).then_some("must be 60 or greater"),
        "cluster_max_payload" => {
            (number < 4_194_304.0).then_some("must be 4194304 (4MB) or greater")
        }
        name if name.starts_with("upstream_keepalive_") => {
            (number < 0.0).then_some("must be 0 or greater")
        }
        name if name.starts_with("pg_") => match (number < 0.0, is_whole) {
            (true, _) => Some("must be greater than 0"),
            (_, false) => Some("must be an integer greater than 0"),
            _ => None,
        },
        _ => None,
    };
    demand.map(|demand| format!("{name} {demand}"))
}

/// What asks for another kind of process than this one: to start all the same would be to serve
/// something else than what was asked for.
fn refused(name: &str, value: &str) -> Option<String> {
    match (name, value) {
        ("role", "traditional") => None,
        ("role", role) => Some(format!(
            "role = {role} is hybrid mode, which is not built: the configuration comes from files"
        )),
        ("database", "cassandra") => Some(
            "Cassandra as a datastore for Kong is not supported in versions 3.4 and above. Please \
             use Postgres."
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_path_without_a_question_mark_is_not_taken_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().display();
        let fault = |path: &str| fault("lua_package_path", path);
        let doubt = |path: &str| doubt("lua_package_path", path);
        for path in ["./?.lua;./?/init.lua;", "/x/?.lua;;", ""] {
            assert_eq!((fault(path), doubt(path)), (None, None), "{path}");
        }
        let there = fault(&format!("./?.lua;{folder}/;;")).unwrap();
        assert!(there.contains(&format!("write '{folder}/?.lua;{folder}/?/init.lua'")), "{there}");
        assert_eq!(fault("/no/such"), None);
        let told = doubt("/no/such").unwrap();
        assert!(told.contains("'/no/such' has no '?': no module is found there"), "{told}");
    }

    #[test]
    fn values_are_refused_in_kongs_words() {
        for (name, value, words) in [
            ("database", "mysql", "has an invalid value: 'mysql' (postgres, cassandra, off)"),
            ("upstream_keepalive_pool_size", "x", "is not a number: 'x'"),
            ("upstream_keepalive_pool_size", "-1", "must be 0 or greater"),
            ("lua_max_req_headers", "0", "must be an integer between 1 and 1000"),
            ("worker_state_update_frequency", "0", "must be greater than 0"),
        ] {
            assert_eq!(fault(name, value), Some(format!("{name} {words}")));
        }
        let refused = fault("role", "data_plane").unwrap();
        assert!(refused.starts_with("role = data_plane is hybrid mode"), "{refused}");
        for (name, value) in
            [("database", "postgres"), ("role", "traditional"), ("pg_port", "5432")]
        {
            assert_eq!(fault(name, value), None, "{name}");
        }
    }
}
