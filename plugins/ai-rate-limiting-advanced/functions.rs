//! The providers that are none: `requestPrompt` and `customCost`, which Lua code counts.

use http::StatusCode;

use super::super::Context;
use super::config::{Config, Counted, Limiter};
use crate::pdk::Exchange;
use crate::plugin::{Counting, Stop, Uncounted};
use crate::respond;

/// Lua code of the configuration, where there is any.
pub(super) struct Functions {
    request: Option<Box<dyn Counting>>,
    costs: Option<Box<dyn Counting>>,
}

/// What the functions count, and their fields.
const REQUESTS: (Counted, &str) = (Counted::RequestPrompt, "request_prompt_count_function");
const COSTS: (Counted, &str) = (Counted::CustomCost, "custom_cost_count_function");

impl Functions {
    pub(super) fn new(
        config: &Config,
        limiters: &[Limiter],
        context: &Context<'_>,
    ) -> Result<Self, Vec<String>> {
        let function = |field: &str, code: &Option<String>| {
            code.as_deref().map(|code| context.count_by(field, code)).transpose()
        };
        let request = function(REQUESTS.1, &config.request_prompt_count_function)?;
        let costs = function(COSTS.1, &config.custom_cost_count_function)?;
        for ((counted, field), is_there) in
            [(REQUESTS, request.is_some()), (COSTS, costs.is_some())]
        {
            match (has(limiters, counted), is_there) {
                (true, false) => context.warn(&format!(
                    "config.llm_providers: without {field} nothing counts against the limit"
                )),
                (false, true) => context.warn(&format!(
                    "config.{field}: counts for the provider '{}' alone, which has no limit",
                    counted.name()
                )),
                _ => {}
            }
        }
        Ok(Self { request, costs })
    }

    /// Whether a function reads what a request has cost.
    pub(super) fn has_costs(&self) -> bool {
        self.costs.is_some()
    }

    /// What a request costs `requestPrompt`. Without a function it costs nothing, as in Kong, whose
    /// words the client gets for one that fails.
    pub(super) async fn of_request(
        &self,
        ex: &Exchange,
        limiters: &[Limiter],
    ) -> Result<f64, Stop> {
        let function = self.request.as_ref().filter(|_| has(limiters, Counted::RequestPrompt));
        let Some(function) = function else { return Ok(0.0) };
        let uncounted = match function.ask(ex, "access").await {
            Ok(count) => return Ok(count),
            Err(uncounted) => uncounted,
        };
        tell(ex, REQUESTS.1, &uncounted);
        let message = match uncounted {
            Uncounted::Answered => return Err(Stop::Exit),
            Uncounted::Failed(_) => "Error executing request prompt count function",
            Uncounted::NoCount(_) => "Bad return value from the request prompt count function",
        };
        respond::error(ex, StatusCode::INTERNAL_SERVER_ERROR, message).map(|()| 0.0)
    }

    /// What a request has cost `customCost`; one whose function fails has cost nothing.
    pub(super) fn of_costs(&self, ex: &Exchange, limiters: &[Limiter]) -> Option<f64> {
        let function = self.costs.as_ref().filter(|_| has(limiters, Counted::CustomCost))?;
        let told = |uncounted| tell(ex, COSTS.1, &uncounted);
        function.ask_at_once(ex, "log").map_err(told).ok()
    }
}

fn has(limiters: &[Limiter], counted: Counted) -> bool {
    limiters.iter().any(|limiter| limiter.provider == Some(counted))
}

/// Tells the operator why there is no number.
fn tell(ex: &Exchange, field: &str, uncounted: &Uncounted) {
    let why = match uncounted {
        Uncounted::Answered => return,
        Uncounted::Failed(error) => error.clone(),
        Uncounted::NoCount(got) => format!("expected a number from 0 to 1e15, got {got}"),
    };
    tracing::error!(request_id = %ex.id, "[ai-rate-limiting-advanced] config.{field}: {why}");
}
