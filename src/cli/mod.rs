//! The command line.
//!
//! Exit status: 0 done or drained, 1 a configuration, an address or a check failed, 2 usage.

mod check;
mod dump;
mod explain;
mod health;
mod identity;
mod plugin;
mod quickstart;
mod run;
mod sim;
mod spec;

use std::process::ExitCode;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, value_parser};

use crate::lua::THREAD_STACK;
use crate::settings::{Env, Flags, Read, Settings};
use crate::telemetry::LOG_LEVELS;

/// An AI gateway for Azure OpenAI that runs Kong's configuration and Kong's plugins.
#[derive(Parser)]
#[command(name = "silverback", version, max_term_width = 100, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway with a configuration file
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Check configuration files and report every error at once
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Look at the configuration that results from files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say which route a request meets and why, which plugins run on it, and where it goes
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Try every Azure identity and target of a configuration, and say what is wrong
    #[command(after_help = IDENTITY_EXAMPLES)]
    Identity(IdentityArgs),
    /// Ask the gateway of this machine whether it is ready: a probe for containers
    #[command(after_help = HEALTH_EXAMPLES)]
    Health(HealthArgs),
    /// Write Lua plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Run Lua specs of plugins inside the runtime that plugins run in
    #[command(after_help = SPEC_EXAMPLES)]
    Spec(SpecArgs),
    /// Run the Azure simulator: Azure OpenAI, Entra and IMDS on one local port
    #[command(after_help = SIM_EXAMPLES)]
    AzureSim(SimArgs),
    /// Run the gateway against the simulator, send it two requests, and keep serving
    #[command(after_help = QUICKSTART_EXAMPLES)]
    Quickstart(QuickstartArgs),
    /// Print the version
    Version,
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Write the files that a plugin begins with: handler, schema, a spec that passes, an example
    New(PluginNewArgs),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print the effective configuration, with ids and all defaults; --with-secrets makes it a file
    /// that loads again
    #[command(after_help = DUMP_EXAMPLES)]
    Dump(DumpArgs),
}

const RUN_EXAMPLES: &str = "\
Examples:
  silverback run                            kong.yaml or kong.yml in this folder
  silverback run gateway.yaml consumers/    files and folders, merged as decK merges them
  deck file render kong.yaml | silverback run -
  KONG_PROXY_LISTEN=127.0.0.1:18000 KONG_LOG_LEVEL=debug silverback run kong.yaml

Signals: HUP loads the files again; TERM, INT and QUIT drain and exit 0; a second one exits at
once.";

const CHECK_EXAMPLES: &str = "\
Examples:
  silverback check kong.yaml
  silverback check --json kong.yaml         for scripts: {\"errors\": [...], \"warnings\": [...]}
  silverback check --strict kong.yaml       warnings fail, too";

const IDENTITY_EXAMPLES: &str = "\
Examples:
  silverback identity                       kong.yaml or kong.yml in this folder
  silverback identity kong.yaml --target gpt-4o
  silverback identity --offline             what would be used and why, without a call
  silverback identity --json | jq .ok       for scripts

It asks for one token per identity, and sends each target one request without a prompt, which
Azure refuses after it has looked at credential, role and deployment: no model runs.

Exit status: 0 all is well, 1 something fails, 2 usage.";

const DUMP_EXAMPLES: &str = "\
Examples:
  silverback config dump kong.yaml
  silverback config dump conf/ --json
  silverback config dump --with-secrets kong.yaml > whole.yaml    loads again to the same thing

Without --with-secrets a *** stands for each secret, and ${{ env `NAME` }} for the value of a
variable. Vault references stay as they are either way.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  silverback explain GET /v1/models kong.yaml
  silverback explain POST https://api.example.com/v1/chat/completions -H 'x-version: 2' kong.yaml
  silverback explain GET /orders --consumer alice --json kong.yaml

Nothing is sent and no plugin runs: --consumer says who the client would be.";

const HEALTH_EXAMPLES: &str = "\
Examples:
  silverback health
  silverback health --status-listen 127.0.0.1:9007

Exit status: 0 ready, 1 not ready or not there, 2 usage.";

const SPEC_EXAMPLES: &str = "\
Examples:
  silverback spec spec/                     every *_spec.lua below this folder
  silverback spec spec/my-plugin/01-access_spec.lua --filter 'answers 401'
  silverback spec spec/ -o tap              for machines; also json, gtest, plain

Modules of plugins are found as `run` finds them: lua_package_path, by default this folder.

Exit status: 0 all passed, 1 a case failed, 2 usage or no case to run.";

const SIM_EXAMPLES: &str = "\
Examples:
  silverback azure-sim
  silverback azure-sim --listen 127.0.0.1:9001 --deployment gpt-4o --key my-key
  curl http://127.0.0.1:9001/sim            what it can do, and how to make it fail";

const QUICKSTART_EXAMPLES: &str = "\
Examples:
  silverback quickstart                     serves on 127.0.0.1:8000
  silverback quickstart --port 9000
  silverback quickstart --once              send the two requests and exit";

#[derive(Args)]
struct RunArgs {
    /// Configuration files and folders; `-` is standard input
    #[arg(value_name = "FILE or DIR")]
    files: Vec<String>,
    /// A kong.conf to read settings from
    #[arg(short, long, value_name = "FILE")]
    conf: Option<String>,
    /// Where clients connect (KONG_PROXY_LISTEN)
    #[arg(long, value_name = "ADDRESS")]
    proxy_listen: Option<String>,
    /// Kong's Admin API; not built yet, only `off` is without a warning (KONG_ADMIN_LISTEN)
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Where /status and /metrics are (KONG_STATUS_LISTEN)
    #[arg(long, value_name = "ADDRESS")]
    status_listen: Option<String>,
    /// Worker threads, or auto (KONG_NGINX_WORKER_PROCESSES)
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// trace, debug, info, notice, warn, error or crit (KONG_LOG_LEVEL)
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json (SILVERBACK_LOG_FORMAT)
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Seconds that open requests may take after a stop signal (SILVERBACK_DRAIN_SECS)
    #[arg(long, value_name = "SECONDS")]
    drain_secs: Option<String>,
}

#[derive(Args)]
struct CheckArgs {
    /// Configuration files and folders; `-` is standard input. Without any, those that `run` takes
    #[arg(value_name = "FILE or DIR")]
    files: Vec<String>,
    /// Print errors and warnings as JSON
    #[arg(long)]
    json: bool,
    /// Let warnings fail, too
    #[arg(long)]
    strict: bool,
    /// A kong.conf to read settings from
    #[arg(short, long, value_name = "FILE")]
    conf: Option<String>,
}

#[derive(Args)]
struct HealthArgs {
    /// Where /status/ready is, if the settings do not say (KONG_STATUS_LISTEN)
    #[arg(long, value_name = "ADDRESS")]
    status_listen: Option<String>,
    /// A kong.conf to read settings from
    #[arg(short, long, value_name = "FILE")]
    conf: Option<String>,
}

#[derive(Args)]
struct DumpArgs {
    /// Configuration files and folders; `-` is standard input
    #[arg(value_name = "FILE or DIR")]
    files: Vec<String>,
    /// Print JSON instead of YAML
    #[arg(long)]
    json: bool,
    /// Print secrets and the values of variables, too
    #[arg(long)]
    with_secrets: bool,
    /// A kong.conf to read settings from
    #[arg(short, long, value_name = "FILE")]
    conf: Option<String>,
}

#[derive(Args)]
struct ExplainArgs {
    /// The method of the request
    method: String,
    /// Its URL, or a path such as /v1/models (then http, and the host of -H 'Host: ...')
    url: String,
    /// Configuration files and folders; `-` is standard input
    #[arg(value_name = "FILE or DIR")]
    files: Vec<String>,
    /// A header of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The username or id of the consumer that would be authenticated
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,
    /// The address of the client
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    client: std::net::IpAddr,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    /// A kong.conf to read settings from
    #[arg(short, long, value_name = "FILE")]
    conf: Option<String>,
}

#[derive(Args)]
struct IdentityArgs {
    /// Configuration files and folders; `-` is standard input
    #[arg(value_name = "FILE or DIR")]
    files: Vec<String>,
    /// Only what is called so: a model, deployment, instance, host, route, service, plugin
    /// instance, consumer, consumer group, or the id of an identity
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
    /// Say what would be used and why, and call nobody
    #[arg(long)]
    offline: bool,
    /// The longest wait for each token and each answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = value_parser!(u16).range(1..=600))]
    timeout: u16,
    /// A kong.conf to read settings from
    #[arg(short, long, value_name = "FILE")]
    conf: Option<String>,
}

#[derive(Args)]
struct PluginNewArgs {
    /// Its name, which is that of its folder: letters, digits, `-` and `_`
    name: String,
    /// The folder that gets `kong/plugins/NAME` and `spec/NAME`
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: String,
}

#[derive(Args)]
struct SpecArgs {
    /// Spec files, and folders that are searched for *_spec.lua
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Only cases whose full name matches this Lua pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    filter: Vec<String>,
    /// No cases whose full name matches this Lua pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    filter_out: Vec<String>,
    /// Only cases with #TAG in their name
    #[arg(short, long, value_name = "TAG", value_delimiter = ',')]
    tags: Vec<String>,
    /// No cases with #TAG in their name
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    exclude_tags: Vec<String>,
    /// How cases are shown
    #[arg(short, long, value_name = "FORMAT", default_value = "terminal")]
    output: spec::Output,
    /// Seconds that a case, or a step around it, may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    #[arg(value_parser = value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// End with the first case that fails
    #[arg(long)]
    fail_fast: bool,
    /// What code in the specs' own VM logs to standard error; gateways have files of their own
    #[arg(long, value_name = "LEVEL", value_parser = PossibleValuesParser::new(LOG_LEVELS))]
    log_level: Option<String>,
    /// A kong.conf to read settings from
    #[arg(short, long, value_name = "FILE")]
    conf: Option<String>,
}

#[derive(Args)]
struct SimArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001")]
    listen: std::net::SocketAddr,
    /// A deployment that exists; may be repeated. Without any, every name is a deployment
    #[arg(long = "deployment", value_name = "NAME")]
    deployments: Vec<String>,
    /// An API key that is accepted; may be repeated
    #[arg(long = "key", value_name = "KEY", default_value = "sim-key")]
    keys: Vec<String>,
    /// Fixed replies, nothing recorded: an upstream for benchmarks
    #[arg(long)]
    lean: bool,
    /// Content events of a stream; 0 is one a word
    #[arg(long, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = value_parser!(u32).range(..=100_000))]
    stream_events: u32,
    /// Milliseconds before each event of a stream but the first
    #[arg(long, value_name = "MS", default_value_t = 0)]
    #[arg(value_parser = value_parser!(u64).range(..=60_000))]
    event_delay_ms: u64,
}

#[derive(Args)]
struct QuickstartArgs {
    /// The port of the gateway on 127.0.0.1
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    port: u16,
    /// Exit after the two requests
    #[arg(long)]
    once: bool,
}

/// Runs the command of the process; the rest is main's.
///
/// Whatever runs Lua has to have more stack than the first thread may have got.
pub fn main() -> ExitCode {
    /// As it is when the first thread panics.
    const PANICKED: u8 = 101;
    let command = Cli::parse().command;
    let thread = std::thread::Builder::new().name("silverback".into()).stack_size(THREAD_STACK);
    match thread.spawn(|| run_command(command)) {
        Ok(thread) => thread.join().unwrap_or(ExitCode::from(PANICKED)),
        Err(error) => {
            complain(&format!("no thread: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run_command(command: Command) -> ExitCode {
    let outcome = match command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::Config(ConfigCommand::Dump(args)) => dump::dump(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Identity(args) => identity::identity(&args),
        Command::Health(args) => health::health(&args),
        Command::Plugin(PluginCommand::New(args)) => plugin::new(&args),
        Command::Spec(args) => spec::run(&args),
        Command::AzureSim(args) => sim::run(args),
        Command::Quickstart(args) => quickstart::run(&args),
        Command::Version => {
            print(&format!("silverback {}\n", env!("CARGO_PKG_VERSION")));
            Ok(ExitCode::SUCCESS)
        }
    };
    outcome.unwrap_or_else(|errors| {
        for error in errors {
            complain(&error);
        }
        ExitCode::FAILURE
    })
}

/// The exit status of wrong usage, as clap has it.
const USAGE: u8 = 2;

/// What a command ends with: a status, or lines for stderr and status 1.
type Outcome = Result<ExitCode, Vec<String>>;

/// Standard output. A reader that went away is no error of ours.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// One error line.
fn complain(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "silverback: {line}");
}

/// Settings from flags, environment and kong.conf.
fn settings(flags: &Flags, conf: Option<&str>) -> Result<Read, Vec<String>> {
    const PLACES: [&str; 2] = ["/etc/kong/kong.conf", "/etc/kong.conf"];
    let text = match conf {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.map_err(|error| vec![format!("{path}: {error}")])?)
        }
        None => PLACES.iter().find_map(|path| std::fs::read_to_string(path).ok()),
    };
    Settings::read(flags, Env::of_process(), text.as_deref())
}
