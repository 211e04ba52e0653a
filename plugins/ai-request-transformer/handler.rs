//! Sends a request's body to a model, and what it answers to the upstream.

use super::Context;
use super::prompts::{self, Bodies};
use super::transformer::{Config, Transformer};
use crate::pdk::Exchange;
use crate::plugin::{Phases, Plugin, Step};

struct RequestTransformer {
    transformer: Transformer,
    bodies: Bodies,
}

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    let config: Config = context.config()?;
    let bodies = Bodies::new(&context.shared.settings, config.max_request_body_size);
    let transformer = Transformer::new(context, "ai-request-transformer", config)?;
    Ok(Box::new(RequestTransformer { transformer, bodies }))
}

impl Plugin for RequestTransformer {
    fn phases(&self) -> Phases {
        Phases::ACCESS.and(Phases::MODEL)
    }

    fn access<'a>(&'a self, ex: &'a Exchange) -> Step<'a> {
        Step::wait(async move {
            let body = self.bodies.take(ex).await?;
            match self.transformer.transform(ex, &body).await {
                Ok(changed) => {
                    prompts::replace(ex, changed.into());
                    Ok(())
                }
                Err(unchanged) => unchanged.answer(ex),
            }
        })
    }
}
