//! `silverback azure-sim`.

use std::process::ExitCode;

use super::{Outcome, SimArgs, print};
use crate::server;
use crate::sim::{Options, Sim};

pub(super) fn run(args: SimArgs) -> Outcome {
    let options = Options {
        listen: args.listen,
        deployments: args.deployments,
        keys: args.keys,
        lean: args.lean,
        stream_events: usize::try_from(args.stream_events).unwrap_or(usize::MAX),
        event_delay_ms: args.event_delay_ms,
        ..Options::default()
    };
    let listen = options.listen;
    let sim = Sim::start(options).map_err(|error| vec![format!("listen {listen}: {error}")])?;
    let url = sim.url();
    print(&format!(
        "The Azure simulator listens on {url}\n\n\
         Help and faults:  curl {url}/sim\n\
         Its requests:     curl {url}/sim/requests\n\n\
         To send a gateway's identity calls here:\n\
         \x20 export AZURE_AUTHORITY_HOST={url}\n\
         \x20 export AZURE_POD_IDENTITY_AUTHORITY_HOST={url}\n\
         and its chats: model.options.upstream_url: \
         {url}/openai/deployments/NAME/chat/completions\n"
    ));
    wait_for_signal()?;
    sim.stop();
    Ok(ExitCode::SUCCESS)
}

fn wait_for_signal() -> Result<(), Vec<String>> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = server::single_thread().map_err(|error| vec![error.to_string()])?;
    runtime.block_on(async {
        let failed = |error: std::io::Error| vec![error.to_string()];
        let mut term = signal(SignalKind::terminate()).map_err(failed)?;
        let mut int = signal(SignalKind::interrupt()).map_err(failed)?;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        Ok(())
    })
}
