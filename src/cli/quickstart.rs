//! `silverback quickstart`: the main job in a minute, without an Azure account.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use super::{Outcome, QuickstartArgs, print, run, settings};
use crate::config::Source;
use crate::gateway::{Gateway, Start};
use crate::loader::Input;
use crate::settings::{Env, Flags};
use crate::sim::{Options, Recorded, Sim};
use crate::telemetry;

const CHAT: &str = r#"{"messages": [{"role": "user", "content": "Hello from the quickstart"}]}"#;
const STREAM: &str =
    r#"{"messages": [{"role": "user", "content": "Count to three"}], "stream": true}"#;

pub(super) fn run(args: &QuickstartArgs) -> Outcome {
    let sim = Sim::start(Options::default())
        .map_err(|error| vec![format!("the Azure simulator cannot start: {error}")])?;
    let config = config(&sim.url());
    print(&format!("The configuration, a decK file as Kong reads it:\n\n{}\n", indent(&config)));
    let gateway = start(args.port, &sim.url(), config)?;
    let Some(&address) = gateway.addresses.first() else {
        return Err(vec!["the gateway has no listener".to_owned()]);
    };
    show(address, "one chat", CHAT, &sim)?;
    show(address, "one streamed chat", STREAM, &sim)?;
    show_identity(&sim);
    if args.once {
        gateway.drain();
        return Ok(ExitCode::SUCCESS);
    }
    let signals = run::Signals::new()?;
    print(&farewell(address, &sim.url()));
    let outcome = run::serve(gateway, signals, || Ok(None));
    sim.stop();
    outcome
}

/// Managed identity, key-auth, one route. The simulator stands where Azure would.
fn config(sim: &str) -> String {
    format!(
        "_format_version: \"3.0\"
services:
- name: azure-openai
  url: http://localhost:32000   # never called: ai-proxy-advanced knows where Azure is
  routes:
  - name: chat
    paths:
    - /v1/chat/completions
    plugins:
    - name: key-auth
      config:
        key_names: [apikey]
        hide_credentials: true
    - name: ai-proxy-advanced
      config:
        targets:
        - route_type: llm/v1/chat
          auth:
            azure_use_managed_identity: true
          logging:
            log_statistics: true
          model:
            provider: azure
            name: gpt-4o
            options:
              azure_instance: my-instance
              azure_deployment_id: gpt-4o
              azure_api_version: \"2024-10-21\"
              # The one line that is not for real Azure: it leads to the simulator.
              upstream_url: {sim}/openai/deployments/gpt-4o/chat/completions
consumers:
- username: me
  keyauth_credentials:
  - key: my-key
"
    )
}

fn start(port: u16, sim: &str, text: String) -> Result<Gateway, Vec<String>> {
    let mut flags = Flags::new();
    flags.insert("proxy_listen".into(), format!("127.0.0.1:{port}"));
    flags.insert("status_listen".into(), "off".into());
    flags.insert("proxy_access_log".into(), "off".into());
    flags.insert("log_level".into(), "warn".into());
    let mut read = settings(&flags, None)?;
    telemetry::start_logs(&read.settings.log_level, read.settings.log_format);
    // Whatever identity this machine has, the quickstart uses the simulator's.
    let host = "AZURE_POD_IDENTITY_AUTHORITY_HOST";
    read.settings.env = [(host, sim)].into_iter().collect::<Env>();
    let source = Source { name: "quickstart.yaml".to_owned(), text };
    let inputs = vec![Input::Text(source)];
    Gateway::start(Start { settings: read.settings, inputs, names: None }).map_err(|mut errors| {
        if errors.iter().any(|error| error.contains("proxy_listen")) {
            errors.push("choose another port: silverback quickstart --port 9000".to_owned());
        }
        errors
    })
}

/// Sends a request through the gateway and prints both sides of it.
fn show(address: SocketAddr, what: &str, body: &str, sim: &Sim) -> Result<(), Vec<String>> {
    let failed = |error: std::io::Error| vec![format!("the gateway does not answer: {error}")];
    let answer = post(address, body).map_err(failed)?;
    let mut text = format!("--- {what}\n\nThe request:\n\n");
    let _ =
        writeln!(text, "  POST http://{address}/v1/chat/completions\n  apikey: my-key\n  {body}\n");
    let _ = write!(text, "The answer:\n\n{}\n", indent(&shortened(answer.trim_end())));
    if let Some(seen) = sim.requests().iter().rev().find(|seen| is_chat(seen)) {
        let _ = write!(text, "What Azure saw:\n\n{}\n", indent(&described(seen)));
    }
    print(&text);
    if answer.starts_with("HTTP/1.1 200") {
        Ok(())
    } else {
        Err(vec!["the quickstart request did not succeed".to_owned()])
    }
}

/// A long stream without its middle.
fn shortened(answer: &str) -> String {
    const SHOWN: usize = 3;
    let events = answer.lines().filter(|line| line.starts_with("data:")).count();
    let mut seen = 0;
    let mut text = String::new();
    for line in answer.lines() {
        let is_event = line.starts_with("data:");
        seen += usize::from(is_event);
        let hidden = seen > SHOWN && seen + SHOWN <= events;
        if hidden && is_event && seen == SHOWN + 1 {
            let _ = writeln!(text, "... {} more events ...\n", events - 2 * SHOWN + 1);
        } else if !hidden {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

fn is_chat(seen: &Recorded) -> bool {
    seen.path.ends_with("/chat/completions")
}

fn described(seen: &Recorded) -> String {
    let mut text = format!("{} {}\n", seen.method, seen.target());
    for (name, value) in &seen.headers {
        let name = name.to_ascii_lowercase();
        let value = if name == "authorization" { "Bearer ***" } else { value };
        if matches!(name.as_str(), "authorization" | "content-type" | "x-consumer-username") {
            let _ = writeln!(text, "{name}: {value}");
        }
    }
    text + &String::from_utf8_lossy(&seen.body)
}

fn show_identity(sim: &Sim) {
    let used = sim.requests().into_iter().rev().find(is_chat).map(|seen| seen.identity);
    let used = used.unwrap_or_else(|| "none".to_owned());
    let exchanges = sim.tokens_issued();
    print(&format!(
        "--- the identity\n\n  Azure was called as: {used}\n  \
         Tokens fetched for both requests: {exchanges}\n\n"
    ));
}

fn farewell(address: SocketAddr, sim: &str) -> String {
    format!(
        "--- your turn

  curl http://{address}/v1/chat/completions -H 'apikey: my-key' \\
    -H 'content-type: application/json' -d '{CHAT}'

  curl -N http://{address}/v1/chat/completions -H 'apikey: my-key' \\
    -H 'content-type: application/json' -d '{STREAM}'

  python3 -m pip install openai
  python3 -c 'from openai import OpenAI; print(OpenAI(base_url=\"http://{address}/v1\",
    api_key=\"unused\", default_headers={{\"apikey\": \"my-key\"}}).chat.completions.create(
    model=\"gpt-4o\", messages=[{{\"role\": \"user\", \"content\": \"hi\"}}]
    ).choices[0].message.content)'

The simulator is at {sim}/sim. Press Ctrl-C to stop: open streams may end first, a second
Ctrl-C ends at once.
"
    )
}

/// A request by hand: the quickstart shows bytes, and needs no client library.
fn post(address: SocketAddr, body: &str) -> std::io::Result<String> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.0\r\nhost: {address}\r\napikey: my-key\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).replacen("HTTP/1.0", "HTTP/1.1", 1))
}

fn indent(text: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        let _ = writeln!(out, "  {}", line.trim_end_matches('\r'));
        out
    })
}
