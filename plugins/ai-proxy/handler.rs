//! Sends chats and completions to one model: `ai-proxy-advanced` with a single target.

use super::Context;
use super::ai_proxy_advanced::make_from;
use crate::llm::config;
use crate::plugin::Plugin;

pub(super) fn make(context: &Context<'_>) -> Result<Box<dyn Plugin>, Vec<String>> {
    make_from(context, context.config::<config::AiProxy>()?.into())
}
