//! A stream of events on its way to the client, watched and never held back. What the gateway has
//! asked for itself, the event with the tokens, does not go on.
//!
//! What goes out ends at the end of an event, so a stream that breaks is ended with an error event
//! the client can read; it never sees half of one. Kong repeats the last event and cuts.

use std::time::Instant;

use anyhow::anyhow;
use bytes::Bytes;

use super::inflate::Corrupt;
use super::reply::{Seen, joined};
use super::stored::Learner;
use crate::llm::anthropic::Translator;
use crate::llm::ending::Ending;
use crate::llm::filter_events::Folder;
use crate::llm::sse::{Ended, Event, Fate, Framer};
use crate::llm::transcript::Transcript;
use crate::llm::usage::{StreamUsage, Usage};
use crate::llm::{Plan, Wire};
use crate::pdk::Chunk;
use crate::pdk::body::Buffered;
use crate::plugin::{Outcome, Stop};

/// One stream.
pub(super) struct Stream {
    /// What the target speaks.
    wire: Wire,
    /// `None` once the stream is over.
    framer: Option<Framer>,
    watch: Watch,
    /// The client has not asked for the event with the tokens.
    hides_usage: bool,
    /// What the content filter says stands in other events, or nowhere.
    folder: Option<Box<Folder>>,
    /// The client gets its events in another grammar.
    translator: Option<Box<Translator>>,
    /// It could not be read on; the client knows.
    failed: Option<String>,
}

/// What the gateway wants of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// The text of the answer is kept.
    pub(super) transcript: bool,
    /// Its id, and why the model stopped.
    pub(super) ending: bool,
    /// The event with the tokens is the gateway's own.
    pub(super) hides_usage: bool,
}

/// What is learnt from the events.
struct Watch {
    usage: StreamUsage,
    transcript: Option<Transcript>,
    ending: Option<Ending>,
    first: Option<Instant>,
    done: bool,
}

impl Stream {
    /// A stream for a target of this plan.
    pub(super) fn new(plan: &Plan, wanted: Wanted, translator: Option<Translator>) -> Self {
        let (wire, route_type) = (plan.wire(), plan.route_type());
        let watch = Watch {
            usage: StreamUsage::new(wire, route_type, plan.is_text()),
            transcript: wanted.transcript.then(|| Transcript::new(wire, route_type)),
            ending: wanted.ending.then(Ending::default),
            first: None,
            done: false,
        };
        let translator = translator.map(Box::new);
        Self {
            wire,
            framer: Some(Framer::new(wire)),
            watch,
            hides_usage: wanted.hides_usage,
            folder: plan.folder().map(Box::new),
            translator,
            failed: None,
        }
    }

    /// Whether its last event was seen.
    pub(super) fn is_done(&self) -> bool {
        self.watch.done
    }

    /// Takes a read, inflated if it had to be, and leaves in `chunk` what may go out.
    pub(super) fn pass(
        &mut self,
        chunk: &mut Chunk,
        read: Result<Bytes, Corrupt>,
        mut learner: Option<&mut Learner>,
    ) -> Outcome {
        chunk.data = Bytes::new();
        if let Some(failed) = self.failed.take() {
            return Err(Stop::Fault(anyhow!(failed)));
        }
        let Some(framer) = &mut self.framer else { return Ok(()) };
        let (watch, translator) = (&mut self.watch, &mut self.translator);
        let folder = &mut self.folder;
        let (wire, hides_usage) = (self.wire, self.hides_usage);
        let mut see = |event: Event<'_>| {
            let is_usage = watch.see(event, wire);
            learner.iter_mut().for_each(|learner| learner.see_event(event));
            translator.iter_mut().for_each(|translator| translator.see(event));
            match folder {
                _ if is_usage && hides_usage => Fate::Hide,
                Some(folder) => folder.fate(event),
                None => Fate::Pass,
            }
        };
        let read = read.map_err(|error| error.to_string());
        let out =
            read.and_then(|read| framer.push(read, &mut see).map_err(|error| error.to_string()));
        chunk.data = match out {
            Ok(out) => out.into_iter().fold(Bytes::new(), |out, more| joined(out, Some(more))),
            Err(error) => {
                self.fail(chunk, error);
                return Ok(());
            }
        };
        if chunk.last
            && let Some(framer) = self.framer.take()
        {
            let ended = if chunk.broken { Ended::Broken } else { Ended::Complete };
            let (rest, outcome) = framer.finish(ended, see);
            chunk.data = joined(std::mem::take(&mut chunk.data), Some(rest));
            chunk.broken = false; // the client has a proper end, or has been told
            translator.iter_mut().for_each(|translator| translator.finish(outcome));
        }
        if let Some(translator) = translator {
            chunk.data = translator.take();
        }
        Ok(())
    }

    /// Tells the client; the next piece then ends the connection to the upstream.
    fn fail(&mut self, chunk: &mut Chunk, error: String) {
        self.framer = None;
        if self.watch.done {
            return; // nothing is missing
        }
        chunk.data = match &mut self.translator {
            None => Bytes::from_static(self.wire.broken()),
            Some(translator) => {
                translator.break_off(&error);
                translator.take()
            }
        };
        if chunk.last {
            chunk.broken = false;
        } else {
            self.failed = Some(error);
        }
    }

    /// The tokens so far: what the stream has told, or an estimate.
    pub(super) fn usage(&self, prompt_tokens: impl FnOnce() -> u64) -> Option<Usage> {
        self.watch.usage.usage(prompt_tokens)
    }

    /// What the stream said. Tokens are estimated when it did not count them.
    pub(super) fn seen(self, prompt_tokens: impl FnOnce() -> u64) -> Seen {
        let Watch { usage: watched, transcript, ending, first, .. } = self.watch;
        let usage = watched.usage(prompt_tokens);
        let text = transcript.map(|transcript| transcript.finish(usage.as_ref()));
        Seen {
            usage,
            model: watched.model().map(str::to_owned),
            tier: watched.tier().map(str::to_owned),
            text: text.map(|text| Buffered::from(Bytes::from(text))),
            first,
            ending,
        }
    }
}

impl Watch {
    /// Whether the event has the tokens and nothing else.
    fn see(&mut self, event: Event<'_>, wire: Wire) -> bool {
        if self.first.is_none() {
            self.first = Some(Instant::now());
        }
        self.done |= event.is_last(wire);
        if let Some(transcript) = &mut self.transcript {
            transcript.see(event);
        }
        if let Some(ending) = &mut self.ending {
            ending.see(event);
        }
        self.usage.see(event)
    }
}
