//! docs/azure-hosting.md is true: each configuration gets its token from the source that the page
//! names, what `silverback identity` says when it is well is what stands there, and each problem of
//! its tables can be had, with the words of the table.

mod faults;
mod page;
mod places;

use std::collections::BTreeSet;

use regex::Regex;
use silverback::sim::{Kind, Options};
use tokio::task::JoinSet;

use self::faults::{Change, ELSEWHERE, FAULTS, Fault};
use self::page::Page;
use self::places::{CERTIFICATE, PLACES, Place, Platform, certificate, needs_a_real_agent};
use super::azure_scene::{HELLO, assert_chat};
use super::cli_process::{Ended, silverback};
use super::gateway::Builder;
use super::http;

#[test]
fn the_page_leads_to_places_that_have_all_they_need() {
    let page = Page::read();
    let anchor = |heading: &str| heading.to_lowercase().replace(' ', "-");
    let mut linked: BTreeSet<String> = page.linked.iter().cloned().collect();
    for place in PLACES {
        let section = page.section(place.heading);
        assert!(!section.yaml.is_empty(), "{}: no configuration", place.heading);
        assert!(!section.rows.is_empty(), "{}: no problems", place.heading);
        if place.heading != "Sovereign clouds" {
            assert!(linked.remove(&anchor(place.heading)), "no link to {}", place.heading);
        }
    }
    assert_eq!(linked, BTreeSet::new(), "links without a place");
}

/// As it stands there: the names of Azure lead to the simulator, which has certificates for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_configuration_gets_its_token_where_the_page_says() {
    let page = Page::read();
    for place in PLACES {
        let what = place.heading;
        let certified = places::certified();
        let options = Options { tls: Some(certified.tls()), ..Options::default() };
        let platform = Platform::new(&page, place, options);
        std::fs::write(platform.file("ca.pem"), &certified.pem).unwrap();
        let config = page.config(what).replace(CERTIFICATE, &certificate("client.pem"));
        let builder = Builder::default()
            .set("lua_ssl_trusted_certificate", platform.file("ca.pem").to_str().unwrap())
            .name(&format!("{}:443", place.host), platform.sim.addr());
        let env = platform.env(&page);
        let builder = env.iter().fold(builder, |builder, (name, value)| builder.env(name, value));
        let gateway = builder.start(&config);
        let answer = gateway.post("/v1/chat/completions", HELLO).await;

        let seen = platform.sim.requests();
        let (exchanges, others): (Vec<_>, Vec<_>) =
            seen.into_iter().partition(|seen| seen.kind.is_token_endpoint());
        assert!(!exchanges.is_empty(), "{what}: {others:?}");
        for exchange in exchanges {
            assert_eq!(exchange.kind, place.kind, "{what}");
            let sent = format!("{}{}", exchange.query, String::from_utf8_lossy(&exchange.body));
            assert!(sent.contains(place.resource), "{what}: {sent}");
        }
        if needs_a_real_agent(place) {
            assert_eq!((answer.status(), others.len()), (500, 0), "{what}: {}", answer.text());
            continue;
        }
        assert_chat(&answer, what);
        let chats: Vec<_> = others.iter().map(|seen| (seen.kind, &*seen.identity)).collect();
        assert_eq!(chats, [(Kind::Chat, place.identity)], "{what}");
        assert_eq!(others[0].header("host"), Some(place.host), "{what}");
    }
}

/// `silverback identity` with this configuration and these variables.
async fn ask(platform: &Platform, config: &str, env: &[(String, String)], offline: bool) -> Ended {
    std::fs::write(platform.file("kong.yaml"), config).unwrap();
    let arguments = ["identity", "kong.yaml", "--offline"];
    let arguments = if offline { &arguments[..] } else { &arguments[..2] };
    let start = silverback(arguments).folder(platform.folder.path());
    env.iter().fold(start, |start, (name, value)| start.env(name, value)).ended().await
}

/// The lines of the first block, which is an identity.
fn first_block(output: &str) -> Vec<String> {
    let lines = output.lines().filter(|line| !line.starts_with("! "));
    lines.take_while(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn token_row(lines: &[String]) -> String {
    let row = lines.iter().find(|line| line.starts_with("  token  "));
    let row = row.unwrap_or_else(|| panic!("no token: {lines:?}"));
    let times = Regex::new(r"for \d+ s|took [\d.]+ m?s").unwrap();
    times.replace_all(row, "_").into_owned()
}

/// Offline it says what the page's own variables lead to; a call replaces but the line of the
/// token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_when_all_is_well_is_on_the_page() {
    let page = Page::read();
    let mut faults = Vec::new();
    for place in PLACES {
        let section = page.section(place.heading);
        if section.well.is_empty() {
            assert_eq!(place.heading, "Functions", "the only place that is as another");
            continue;
        }
        let platform = Platform::new(&page, place, Options::default());
        let config = page.config(place.heading);
        std::fs::copy(certificate("client.pem"), platform.file("client.pem")).unwrap();
        let there = config.replace(CERTIFICATE, "client.pem");
        let own = section.variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let offline = ask(&platform, &there, &own.collect::<Vec<_>>(), true).await;
        let output = offline.output.replace("client.pem", CERTIFICATE);
        let mut lines = first_block(&output);
        let well: Vec<String> = section.well.lines().map(str::to_owned).collect();

        let token = if needs_a_real_agent(place) {
            "  token         valid _ (23 h); it _".to_owned()
        } else {
            let here = places::at_simulator(&there, platform.sim.addr());
            let online = ask(&platform, &here, &platform.env(&page), false).await;
            assert_eq!(online.code, Some(0), "{}: {}", place.heading, online.output);
            token_row(&first_block(&online.output))
        };
        lines[0] = lines[0].replacen("-  ", "ok ", 1);
        let is_token = |line: &String| line.starts_with("  token  ");
        let at = lines.iter().position(is_token).unwrap();
        lines[at] = token;
        let mut quoted = well.clone();
        if let Some(at) = quoted.iter().position(is_token) {
            quoted[at] = token_row(&quoted);
        }
        if quoted != lines {
            faults.push(format!("{}:\n{}", place.heading, lines.join("\n")));
        }
    }
    assert!(faults.is_empty(), "differs from\n{}", faults.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_problem_of_the_page_can_be_had() {
    let page = Page::read();
    let mut running = JoinSet::new();
    for fault in FAULTS {
        running.spawn(provoke(fault));
    }
    let mut met: BTreeSet<(&str, &str)> = ELSEWHERE.into_iter().collect();
    while let Some(ended) = running.join_next().await {
        met.insert(ended.unwrap());
    }
    let rows = page.sections.iter().flat_map(|(heading, section)| {
        section.rows.iter().map(|(problem, _)| (*heading, *problem))
    });
    assert_eq!(met, rows.collect(), "provoked (left), on the page (right)");
}

/// Brings a row about, and says which one it is.
async fn provoke(fault: &'static Fault) -> (&'static str, &'static str) {
    let page = Page::read();
    let heading = fault.heading;
    let rows = &page.section(heading).rows;
    let row = rows.iter().find(|(problem, _)| problem.starts_with(fault.row));
    let (problem, remedy) = *row.unwrap_or_else(|| panic!("{heading}: no row '{}'", fault.row));
    let mut places = PLACES.into_iter();
    let place = places.find(|place| place.heading == heading).unwrap_or(PLACES[0]);
    let (platform, config, env) = arrange(&page, heading, place, fault.changes);
    let here = places::at_simulator(&config, platform.sim.addr());
    let closed = http::closed_port();
    let env = env.into_iter().map(|(name, value)| {
        let nobody = closed.local_addr().unwrap().to_string();
        (name, value.replace(CLOSED, &nobody))
    });
    let ended = ask(&platform, &here, &env.collect::<Vec<_>>(), false).await;
    assert_eq!(ended.code, Some(1), "{heading}: {}", ended.output);
    let output = ended.output.replace(&certificate("encrypted.pem"), CERTIFICATE);
    let flat = output.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in [problem, remedy] {
        assert!(flat.contains(text), "{heading}: '{text}' is not in:\n{output}");
    }
    (heading, problem)
}

/// Stands for an address where nobody listens.
const CLOSED: &str = "closed.invalid:1";

type Arranged = (Platform, String, Vec<(String, String)>);

fn arrange(page: &Page, heading: &str, place: Place, changes: &[Change]) -> Arranged {
    let options = changes.iter().find_map(|change| match change {
        Change::Azure(options) => Some(options()),
        _ => None,
    });
    let platform = Platform::new(page, place, options.unwrap_or_default());
    let mut config = page.config(heading);
    let mut env = platform.env(page);
    let here = platform.sim.addr().to_string();
    let mut set = |name: &str, value: String| {
        env.retain(|(known, _)| known != name);
        env.push((name.to_owned(), value));
    };
    for change in changes {
        match *change {
            Change::Azure(_) => {}
            Change::Set(name, value) => set(name, value.to_owned()),
            Change::Unset(name) => set(name, String::new()),
            Change::Closed(name) => {
                let known = platform.env(page).into_iter().find(|(known, _)| known == name);
                let value = known.map_or(format!("http://{CLOSED}"), |(_, value)| value);
                set(name, value.replace(&here, CLOSED));
            }
            Change::AsWritten(name) => {
                let written = &page.section(heading).variables;
                let (_, value) = written.iter().find(|(known, _)| *known == name).unwrap();
                set(name, (*value).to_owned());
            }
            Change::Text(old, new) => {
                assert!(config.contains(old), "{heading}: '{old}'");
                // A record in flow style takes the place of the block.
                let old =
                    if new.starts_with('{') { format!("\n          {old}") } else { old.into() };
                config = config.replace(&old, &format!(" {new}").replace("  ", " "));
            }
            Change::Federated(text) => std::fs::write(platform.file("token"), text).unwrap(),
            Change::Certificate(name) => config = config.replace(CERTIFICATE, &certificate(name)),
            Change::Answer(rule) => drop(platform.sim.fault(rule()).unwrap()),
        }
    }
    (platform, config, env)
}
