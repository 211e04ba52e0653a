//! `router_flavor = expressions`.

use super::*;

fn expression(name: &str, text: &str) -> (String, Value) {
    (name.to_owned(), json!({ "expression": text }))
}

/// The Route that one expression alone gives for a request.
fn matches(text: &str, url: &str, headers: &[(&str, &str)]) -> bool {
    let router = router(&[("r", json!({ "expression": text }))], RouterFlavor::Expressions);
    let ask =
        super::ask(&router.unwrap(), &Ask { method: "GET", url, headers, tls: false, sni: None });
    ask.is_some()
}

#[test]
fn every_field_and_operator_of_kong_is_there() {
    let headers = &[("x-model", "GPT"), ("x-two", "a"), ("x-two", "b")];
    for (text, want) in [
        (r#"http.path == "/a/b c/d""#, true),
        (r#"http.path ^= "/a" && http.method != "POST""#, true),
        (r#"http.path =^ "/d" || http.host == "x""#, true),
        (r#"http.path contains "b c""#, true),
        (r##"http.path ~ r#"^/a/\w \w/(?P<x>.)"#"##, true),
        (r#"!(http.path ^= "/z")"#, true),
        (r#"http.host == "gw.test" && net.dst.port == 81"#, true),
        ("net.port == 81", true),
        ("net.dst.port >= 0x51 && net.dst.port <= 0121 && net.src.port > 4710", true),
        ("net.src.port < 4711", false),
        ("net.src.ip in 10.1.0.0/16 && net.src.ip not in 10.2.0.0/16", true),
        ("net.dst.ip == 127.0.0.1", true),
        (r#"net.protocol == "http""#, true),
        (r#"tls.sni == "gw.test""#, false),
        (r#"http.headers.x_model == "GPT""#, true),
        (r#"http.headers.x_model == "gpt""#, false),
        (r#"lower(http.headers.x_model) == "gpt""#, true),
        (r#"http.headers.x_two == "a""#, false),
        (r#"any(http.headers.x_two) == "b""#, true),
        (r#"http.headers.x_none != "a""#, false),
        (r#"http.queries.q == "1 2""#, true),
        (r#"http.queries.empty == """#, true),
        (r#"http.path.segments.0 == "a""#, true),
        (r#"http.path.segments.1_2 == "b c/d""#, true),
        (r#"http.path.segments.3 == "d""#, false),
        ("http.path.segments.len == 3", true),
    ] {
        let url = "gw.test:81/a/b%20c/d?q=1+2&empty";
        assert_eq!(matches(text, url, headers), want, "{text}");
    }
}

#[test]
fn what_kong_refuses_is_refused_in_its_words() {
    for (text, want) in [
        ("", "expected term"),
        ("http.path", "expected"),
        (r#"http.paths == "/""#, "Unknown LHS field"),
        ("http.path == 1", "Type mismatch between the LHS and RHS values of predicate"),
        (r#"net.src.ip == "10.0.0.1""#, "Type mismatch"),
        (r#"http.path ~ "/(""#, "unclosed group"),
        (r#"http.path.segments.2_1 == "a""#, "illformed http.path.segments.* field"),
        (r#"http.path.segments.01 == "a""#, "illformed http.path.segments.* field"),
        (r#"upper(http.path) == "A""#, "unknown transformation function: upper"),
    ] {
        let error = expression::error(text).unwrap_or_default();
        assert!(error.contains(want), "{text}: {error}");
    }
    let deep = format!("{}net.src.port == 1{}", "(".repeat(5000), ")".repeat(5000));
    assert!(expression::error(&deep).unwrap().contains("nested parentheses"));
}

#[test]
fn expressions_go_by_priority_and_stand_above_criteria() {
    let routes = [
        ("low".to_owned(), json!({"expression": r#"http.path ^= "/a""#, "priority": 1})),
        ("high".to_owned(), json!({"expression": r#"http.path ^= "/""#, "priority": 100})),
        expression("zero", r#"http.path ^= "/a/b/c""#),
        ("criteria".to_owned(), json!({"paths": ["/a/b/c"], "hosts": ["h"], "methods": ["GET"]})),
    ];
    let routes = routes.each_ref().map(|(name, fields)| (name.as_str(), fields.clone()));
    let first = |routes: &[(&str, Value)], url: &str| {
        let router = router(routes, RouterFlavor::Expressions).unwrap();
        let hit = ask(&router, &Ask { method: "GET", url, headers: &[], tls: false, sni: None });
        hit.map(|(name, _)| name)
    };
    assert_eq!(first(&routes, "h/a/b/c").as_deref(), Some("high"));
    let rest = [routes[0].clone(), routes[2].clone(), routes[3].clone()];
    assert_eq!(first(&rest, "h/a/b/c").as_deref(), Some("low"));
    assert_eq!(first(&rest[1..], "h/a/b/c").as_deref(), Some("zero"));
}

#[test]
fn an_expression_is_found_by_what_it_demands_and_no_other() {
    // Each of these would be lost if the index took it for something it is not.
    for (text, url) in [
        (r#"!(http.host == "a") && http.path ^= "/x""#, "b/x"),
        (r#"http.host == "a" || http.path ^= "/x""#, "b/x"),
        (r#"lower(http.host) == "gw""#, "GW/"),
        (r#"http.host =^ "est""#, "gw.test/"),
        (r#"http.host ^= "a.b.""#, "a.b.c/"),
        (r#"http.path ~ "/b|^/a""#, "h/x/b"),
        (r#"http.path ~ "b$""#, "h/ab"),
        (r#"(http.path ^= "/a" || http.path == "/b") && http.host =^ ".c""#, "x.c/b"),
    ] {
        assert!(matches(text, url, &[]), "{text}");
    }
}

#[test]
fn captures_and_the_matched_path_come_from_the_expression() {
    let fields = json!({"expression": r##"http.path ~ r#"^/d/(?<dep>[^/]+)"#"##});
    let router = router(&[("r", fields)], RouterFlavor::Expressions).unwrap();
    let url = "h/d/gpt/chat";
    let hit = ask(&router, &Ask { method: "GET", url, headers: &[], tls: false, sni: None });
    let (matched, captures) = hit.unwrap().1;
    assert_eq!(matched.as_deref(), Some("/d/gpt"));
    let pair = |name: &str| (name.to_owned(), "gpt".to_owned());
    assert_eq!(captures, [pair("1"), pair("dep")]);
}
