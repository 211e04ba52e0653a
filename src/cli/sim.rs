//! `silverback azure-sim`.

use std::process::ExitCode;

use super::run::Signals;
use super::{Outcome, SimArgs, print};
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
    // Before anybody is told that the simulator is there.
    let mut signals = Signals::new()?;
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
    signals.wait_for_stop();
    sim.stop();
    Ok(ExitCode::SUCCESS)
}
