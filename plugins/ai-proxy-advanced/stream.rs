//! A stream of events on its way to the client, watched and never held back.
//!
//! What goes out ends at the end of an event, so a stream that breaks is ended with an error event
//! the client can read; it never sees half of one. Kong repeats the last event and cuts.

use std::time::Instant;

use anyhow::anyhow;
use bytes::Bytes;

use super::inflate::Corrupt;
use super::reply::{Seen, joined};
use crate::llm::anthropic::Translator;
use crate::llm::sse::{BROKEN, Ended, Event, Framer};
use crate::llm::transcript::Transcript;
use crate::llm::usage::StreamUsage;
use crate::llm::{Plan, RouteType};
use crate::pdk::Chunk;
use crate::pdk::body::Buffered;
use crate::plugin::{Outcome, Stop};

/// One stream.
pub(super) struct Stream {
    /// `None` once the stream is over.
    framer: Option<Framer>,
    watch: Watch,
    /// The client gets its events in another grammar.
    translator: Option<Box<Translator>>,
    /// It could not be read on; the client knows.
    failed: Option<String>,
}

/// What is learnt from the events.
struct Watch {
    usage: StreamUsage,
    transcript: Option<Transcript>,
    first: Option<Instant>,
    done: bool,
}

impl Stream {
    /// A stream for a target of this plan; `transcribes` keeps the text of the answer.
    pub(super) fn new(plan: &Plan, transcribes: bool, translator: Option<Translator>) -> Self {
        let route_type = match plan.route_type() {
            RouteType::Completions => RouteType::Completions,
            _ => RouteType::Chat,
        };
        let watch = Watch {
            usage: StreamUsage::new(route_type, plan.converts()),
            transcript: transcribes.then(|| Transcript::new(route_type)),
            first: None,
            done: false,
        };
        let translator = translator.map(Box::new);
        Self { framer: Some(Framer::default()), watch, translator, failed: None }
    }

    /// Whether `[DONE]` was seen.
    pub(super) fn is_done(&self) -> bool {
        self.watch.done
    }

    /// Takes a read, inflated if it had to be, and leaves in `chunk` what may go out.
    pub(super) fn pass(&mut self, chunk: &mut Chunk, read: Result<Bytes, Corrupt>) -> Outcome {
        chunk.data = Bytes::new();
        if let Some(failed) = self.failed.take() {
            return Err(Stop::Fault(anyhow!(failed)));
        }
        let Some(framer) = &mut self.framer else { return Ok(()) };
        let (watch, translator) = (&mut self.watch, &mut self.translator);
        let mut see = |event: Event<'_>| {
            watch.see(event);
            translator.iter_mut().for_each(|translator| translator.see(event));
        };
        let read = read.map_err(|error| error.to_string());
        let out =
            read.and_then(|read| framer.push(read, &mut see).map_err(|error| error.to_string()));
        let mut out = match out {
            Ok(out) => out.into_iter(),
            Err(error) => {
                self.fail(chunk, error);
                return Ok(());
            }
        };
        chunk.data = joined(out.next().unwrap_or_default(), out.next());
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
            None => Bytes::from_static(BROKEN),
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

    /// What the stream said. Tokens are estimated when it did not count them.
    pub(super) fn seen(self, prompt_tokens: impl FnOnce() -> u64) -> Seen {
        let Watch { usage: watched, transcript, first, .. } = self.watch;
        let usage = watched.usage(prompt_tokens);
        let text = transcript.map(|transcript| transcript.finish(usage.as_ref()));
        Seen {
            usage,
            model: watched.model().map(str::to_owned),
            text: text.map(|text| Buffered::from(Bytes::from(text))),
            first,
        }
    }
}

impl Watch {
    fn see(&mut self, event: Event<'_>) {
        if self.first.is_none() {
            self.first = Some(Instant::now());
        }
        self.done |= event.is_done();
        self.usage.see(event);
        if let Some(transcript) = &mut self.transcript {
            transcript.see(event);
        }
    }
}
