//! The loader: a thread of its own that turns files into a Snapshot that is known to work.
//!
//! An endless validator or ten thousand routes must not hold up token refresh, `/status` or
//! traffic. The loader has its own Lua VM, and compiles each Snapshot once for trial before any
//! worker sees it: nothing can fail later. A file that cannot be loaded changes nothing.

mod compile;
mod complaint;
mod history;
mod input;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;

use tokio::sync::{oneshot, watch};

use crate::lua::THREAD_STACK;
use crate::shared::Shared;
use crate::snapshot::Snapshot;

pub use compile::{Compiled, compile, dump};
pub use complaint::{Complaint, Refused};
pub use history::History;
pub use input::{Input, inputs};

/// The loader's thread, and the way to it.
pub struct Loader {
    orders: mpsc::Sender<Order>,
    history: Arc<History>,
}

type Answer = Result<(), Vec<String>>;

enum Order {
    /// Load again, and tell this one how it went.
    Load(Option<oneshot::Sender<Answer>>),
    /// End. Watchers hold senders too, so a closed channel cannot say it.
    Stop,
}

impl Loader {
    /// Loads once; if that works the thread stays and loads again when it is told to.
    ///
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub fn start(
        shared: Arc<Shared>,
        inputs: Vec<Input>,
    ) -> Result<(Self, watch::Receiver<Arc<Snapshot>>), Vec<String>> {
        let (orders, to_do) = mpsc::channel::<Order>();
        let (first, loaded) = mpsc::channel();
        let history = Arc::new(History::default());
        let past = history.clone();
        let work = move || {
            let sender = match compile(&shared, &inputs) {
                Ok(compiled) => {
                    tell(&compiled);
                    shared.certificates.replace(compiled.certificates);
                    past.add(Ok(compiled.snapshot.hash.clone()));
                    let (sender, receiver) = watch::channel(compiled.snapshot);
                    let _ = first.send(Ok(receiver));
                    sender
                }
                Err(refused) => return drop(first.send(Err(refused.lines()))),
            };
            while let Ok(Order::Load(waiting)) = to_do.recv() {
                let mut waiting: Vec<_> = waiting.into_iter().collect();
                // Whoever asked while a load was running gets this one together.
                while let Ok(order) = to_do.try_recv() {
                    match order {
                        Order::Load(another) => waiting.extend(another),
                        Order::Stop => return,
                    }
                }
                shared.systemd.reloading();
                let answer = reload(&shared, &inputs, &sender);
                past.add(answer.clone().map_err(|errors| errors.len()));
                shared.systemd.ready();
                for waiting in waiting {
                    let _ = waiting.send(answer.clone().map(drop));
                }
            }
        };
        let thread = std::thread::Builder::new().name("loader".into());
        let thread = thread.stack_size(THREAD_STACK).spawn(work);
        thread.map_err(|error| vec![format!("loader thread: {error}")])?;
        let receiver = loaded.recv().map_err(|_| vec!["the loader ended early".to_owned()])??;
        Ok((Self { orders, history }, receiver))
    }

    /// What has been loaded so far.
    pub fn history(&self) -> Arc<History> {
        self.history.clone()
    }

    /// A way to ask for a reload from anywhere; the outcome is logged.
    pub fn trigger(&self) -> impl Fn() + Send + use<> {
        let orders = self.orders.clone();
        move || drop(orders.send(Order::Load(None)))
    }

    /// Loads again and waits for the outcome.
    ///
    /// # Errors
    /// Everything that is wrong; the old configuration stays in force.
    pub async fn reload(&self) -> Answer {
        let (answer, waiting) = oneshot::channel();
        let gone = || vec!["the loader has ended".to_owned()];
        self.orders.send(Order::Load(Some(answer))).map_err(|_| gone())?;
        waiting.await.map_err(|_| gone())?
    }

    /// Ends the thread. It is not waited for: a validator that never ends must not hold up the end
    /// of the process.
    pub fn stop(self) {
        let _ = self.orders.send(Order::Stop);
    }
}

/// Loads again, and gives the hash of the new configuration.
fn reload(
    shared: &Arc<Shared>,
    inputs: &[Input],
    sender: &watch::Sender<Arc<Snapshot>>,
) -> Result<String, Vec<String>> {
    let help = "Configuration loads by outcome";
    let count = |outcome| {
        let labels = [("outcome", outcome)];
        shared.metrics.counter("silverback_config_loads_total", help, &labels).add(1);
    };
    // A loader that dies would leave every later change of the files without effect.
    let compiled = catch_unwind(AssertUnwindSafe(|| compile(shared, inputs)));
    let panicked = || Refused::from(vec!["loading panicked".to_owned()]);
    match compiled.unwrap_or_else(|_| Err(panicked())) {
        Ok(compiled) => {
            tell(&compiled);
            count("ok");
            shared.certificates.replace(compiled.certificates);
            let hash = compiled.snapshot.hash.clone();
            sender.send_replace(compiled.snapshot);
            tracing::info!(hash, "configuration loaded"); // whoever waits for the line finds it so
            Ok(hash)
        }
        Err(refused) => {
            count("error");
            let errors = refused.lines();
            tracing::error!("configuration not loaded, the one in force stays:");
            for error in &errors {
                tracing::error!("{error}");
            }
            Err(errors)
        }
    }
}

/// Tells the operator what came with a configuration.
fn tell(compiled: &Compiled) {
    for warning in &compiled.warnings {
        tracing::warn!("{warning}");
    }
    let scripts = compiled.snapshot.scripts.iter();
    for (plugin, file) in scripts.filter_map(|(plugin, file)| Some((plugin, file.as_ref()?))) {
        tracing::info!("plugin '{plugin}' runs from {file}");
    }
}
