//! Every function of the plugin development kit, in every phase: `spec/pdk/` says what Kong does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use tokio::io::AsyncWriteExt;

use super::gateway::TestGateway;
use super::http::{Reader, Upstream};
use super::lua::{install, with_plugins};
use super::stream_ends::soon;
use super::tls::{Certificate, certificate, connect};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Phases that the probing plugins are called in.
const PHASES: [&str; 9] = [
    "init_worker",
    "certificate",
    "rewrite",
    "access",
    "response",
    "header_filter",
    "body_filter",
    "log",
    "timer",
];

/// Calls `probe(phase)` of the module `probing` in these phases.
fn handler(phases: &[&str]) -> String {
    let mut source = "local probe = require 'kong.plugins.probing.probe'\n\
                      local P = { PRIORITY = 1000, VERSION = '1.0.0' }\n"
        .to_owned();
    for phase in phases.iter().filter(|phase| **phase != "timer") {
        let _ = writeln!(source, "function P:{phase}() probe('{phase}') end");
    }
    if phases.contains(&"timer") {
        source = source.replace(
            "probe('init_worker')",
            "probe('init_worker') ngx.timer.at(0, function() probe('timer') end)",
        );
    }
    source + "return P\n"
}

/// Runs Lua code once in every phase of a gateway. The code is a function of the phase's name; what
/// it gives back is told by phase, line by line.
async fn told(code: &str) -> BTreeMap<String, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let phases: Vec<_> = PHASES.into_iter().filter(|phase| *phase != "response").collect();
    install(folder.path(), "probing", &handler(&phases));
    install(folder.path(), "buffering", &handler(&["response"]));
    let probe = format!(
        "local told = {{}}\nlocal function run(phase)\n{code}\nend\n\
         return function(phase)\n\
         if phase == 'rewrite' and kong.request.get_path() == '/told' then\n\
         kong.response.exit(200, told) end\n\
         if not told[phase] then\n\
         told[phase] = setmetatable(run(phase), require('cjson').array_mt) end end\n"
    );
    fs::write(folder.path().join("kong/plugins/probing/probe.lua"), probe).unwrap();
    let certificate = certificate("localhost");
    let gateway = start(folder.path(), &certificate).await;
    ask(&gateway, &certificate).await;
    soon("every phase", async {
        loop {
            // What a phase has told is asked for until all of them have: `log` and the timer are
            // nobody's answer.
            let answer = gateway.get("/told").await.json();
            let of = |phase: &str| serde_json::from_value(answer[phase].clone()).ok();
            let told: Vec<Option<Vec<String>>> = PHASES.iter().map(|phase| of(phase)).collect();
            if told.iter().all(Option::is_some) {
                let names = PHASES.iter().map(ToString::to_string);
                return names.zip(told.into_iter().flatten()).collect();
            }
        }
    })
    .await
}

async fn start(folder: &Path, certificate: &Certificate) -> TestGateway {
    let upstream = Upstream::replying(OK).await;
    let config = format!(
        "_format_version: '3.0'\nplugins:\n- name: probing\nservices:\n- name: s\n  \
         url: http://{}\n  routes:\n  - name: r\n    paths: [/a]\n  \
         - name: b\n    paths: [/b]\n    plugins:\n    - name: buffering\n",
        upstream.address
    );
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&cert, &certificate.pem).unwrap();
    fs::write(&key, &certificate.key_pem).unwrap();
    with_plugins(folder, "bundled,probing,buffering")
        .set("ssl_cert", cert.to_str().unwrap())
        .set("ssl_cert_key", key.to_str().unwrap())
        .set("proxy_listen", "127.0.0.1:0, 127.0.0.1:0 ssl")
        .start(&config)
}

/// A request of each kind: plain ones, and one for the handshake.
async fn ask(gateway: &TestGateway, certificate: &Certificate) {
    assert_eq!(gateway.get("/a").await.status(), 200);
    assert_eq!(gateway.get("/b").await.status(), 200);
    let mut stream = connect(gateway.addresses[1], certificate, b"http/1.1").await;
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_eq!(Reader::new(stream).message(false).await.unwrap().status(), 200);
}

/// The rows of `spec/pdk/phases.txt`: function, and the name of its set.
fn rows() -> (BTreeMap<String, Vec<String>>, BTreeMap<String, String>) {
    let text = fs::read_to_string("spec/pdk/phases.txt").unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let (mut groups, mut rows) = (BTreeMap::new(), BTreeMap::new());
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        match name.strip_prefix('@') {
            Some(group) => {
                let phases = value.split(", ").map(str::to_owned).collect();
                groups.insert(group.to_owned(), phases);
            }
            None => drop(rows.insert(name.to_owned(), value.to_owned())),
        }
    }
    (groups, rows)
}

/// What Kong says to a call in a phase; `None` if it allows it.
fn refusal(phase: &str, group: &str, phases: &[String]) -> Option<String> {
    let names = phases.join(", ");
    if group == "late" {
        return match phase {
            "timer" => Some("no phase in ngx.ctx.KONG_PHASE".to_owned()),
            _ if phases.iter().any(|one| one == phase) => Some(format!(
                "function cannot be called in {phase} phase (can be called in any phases except: \
                 {names})"
            )),
            _ => None,
        };
    }
    match phase {
        "timer" => Some(format!("no phase in ngx.ctx.KONG_PHASE, (need one of {names})")),
        _ if phases.iter().any(|one| one == phase) => None,
        _ => Some(format!("function cannot be called in {phase} phase (only in: {names})")),
    }
}

/// Calls every function that is there, and says what came of it.
const EVERY: &str = r#"
  local lines = {}
  local function refused(text)
    return text:find("function cannot be called in", 1, true)
      or text:find("no phase in ngx.ctx", 1, true)
  end
  local function visit(path, value, seen)
    if type(value) == "function" then
      local ok, err = pcall(function() return (value()) end)
      local text = not ok and tostring(err) or ""
      lines[#lines + 1] = path .. "\t" .. (refused(text) and text or "")
    elseif type(value) == "table" and not seen[value] then
      seen[value] = true
      for name, inner in pairs(value) do
        if type(name) == "string" then visit(path .. "." .. name, inner, seen) end
      end
    end
  end
  for _, name in ipairs { "client", "cluster", "ip", "nginx", "node", "plugin", "request",
      "response", "router", "service", "table", "telemetry", "tracing", "vault", "log" } do
    local space = kong[name]
    if name == "log" then
      visit("log.inspect.print", space.inspect.print, {})
    end
    visit(name, space, {})
  end
  return lines
"#;

#[tokio::test]
async fn every_function_is_allowed_where_kong_allows_it() {
    let (groups, rows) = rows();
    let mut faults = Vec::new();
    for (phase, lines) in told(EVERY).await {
        let mut seen = BTreeSet::new();
        for line in lines {
            let (function, said) = line.split_once('\t').unwrap();
            seen.insert(function.to_owned());
            let Some(group) = rows.get(function) else {
                faults.push(format!("{function} has no row in spec/pdk/phases.txt"));
                continue;
            };
            let expected = match group.as_str() {
                "any" => None,
                group => refusal(&phase, group, &groups[group]),
            };
            let fits = match &expected {
                None => said.is_empty(),
                Some(expected) => said.ends_with(expected.as_str()) && said.contains("probe.lua:"),
            };
            if !fits {
                faults.push(format!("{phase}: {function}: {said:?}, expected {expected:?}"));
            }
        }
        let missing = rows.keys().filter(|row| !seen.contains(*row));
        faults.extend(missing.map(|row| format!("{phase}: {row} is not there")));
    }
    faults.sort();
    faults.dedup();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn arguments_are_refused_in_kongs_words() {
    let text = fs::read_to_string("spec/pdk/arguments.txt").unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let cases: Vec<[&str; 3]> = lines
        .map(|line| {
            let mut parts = line.splitn(3, " | ");
            std::array::from_fn(|_| parts.next().unwrap_or_else(|| panic!("{line}")))
        })
        .collect();
    let mut code = "local calls = {\n".to_owned();
    for [phase, call, _] in &cases {
        let _ = writeln!(code, "{{ '{phase}', [==[{call}]==] }},");
    }
    code += "}\nlocal lines = {}\nfor i, one in ipairs(calls) do if one[1] == phase then\n\
             local ok, value, told = pcall(loadstring('return ' .. one[2]))\n\
             if not ok then told = value elseif value ~= nil or told == nil then\n\
             told = '= ' .. tostring(value) end\n\
             lines[#lines + 1] = i .. '\\t' .. tostring(told) end end\nreturn lines";
    let mut faults = Vec::new();
    let mut count = 0;
    for line in told(&code).await.into_values().flatten() {
        let (index, said) = line.split_once('\t').unwrap();
        let [phase, call, expected] = cases[index.parse::<usize>().unwrap() - 1];
        let fits = match expected.strip_prefix('=') {
            Some(_) => said.trim_end() == expected,
            None => said == expected || said.ends_with(&format!(": {expected}")),
        };
        if !fits {
            faults.push(format!("{phase}: {call}: {said}, expected {expected}"));
        }
        count += 1;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(count, cases.len());
}
