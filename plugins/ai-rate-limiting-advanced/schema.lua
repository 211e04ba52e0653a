local typedefs = require "kong.db.schema.typedefs"
local checks = require "kong.db.schema.checks"
local fields = require "silverback.llm.fields"
local redis = require "silverback.llm.redis"

local function text(default, one_of, description)
  return { type = "string", default = default, one_of = one_of, description = description }
end

local function flag(default, description)
  return { type = "boolean", default = default, description = description }
end

local function numbers(description)
  return {
    type = "array",
    required = true,
    len_min = 1,
    elements = { type = "number", gt = 0 },
    description = description,
  }
end

local strategies = { "total_tokens", "prompt_tokens", "completion_tokens", "cost" }

-- Lua code that returns a number.
local function code(description)
  return { type = "string", description = description, custom_validator = checks.lua_code }
end

local provider = {
  type = "record",
  fields = {
    { name = {
      type = "string",
      required = true,
      one_of = {
        "openai", "azure", "anthropic", "cohere", "mistral", "llama2", "bedrock", "gemini",
        "huggingface", "requestPrompt", "customCost",
      },
    } },
    { limit = numbers "How much may be used in each of the windows." },
    { window_size = numbers "The lengths of the windows, in seconds." },
  },
  custom_validator = function(provider)
    if type(provider.limit) == "table" and type(provider.window_size) == "table"
      and #provider.limit ~= #provider.window_size
    then
      return nil, "You must provide the same number of windows and limits"
    end
    return true
  end,
}

local condition = {
  type = "record",
  fields = {
    { type = {
      type = "string",
      required = true,
      one_of = { "consumer", "consumer_group", "header", "ip", "model", "path", "provider" },
    } },
    { key = { type = "string", description = "The name of the header." } },
    { values = { type = "array", elements = { type = "string" } } },
    { partition_by = flag(false, "Whether each value has a counter of its own.") },
  },
}

local policy = {
  type = "record",
  fields = {
    { id = { type = "string" } },
    { match = { type = "array", elements = condition } },
    -- A policy with an `id` may have none; the handler has a better line on both.
    { limits = {
      type = "array",
      len_min = 1,
      elements = {
        type = "record",
        fields = {
          { limit = { type = "number", required = true, gt = 0 } },
          { window_size = { type = "number", required = true, gt = 0 } },
          { tokens_count_strategy = text("total_tokens", strategies) },
        },
      },
    } },
    { window_type = text("sliding", { "fixed", "sliding" }) },
  },
}

local function validate(config)
  local providers, policies = config.llm_providers, config.policies
  if type(providers) ~= "table" and type(policies) ~= "table" then
    return nil, "either llm_providers or policies must be set"
  elseif config.identifier == "header" and type(config.header_name) ~= "string" then
    return nil, "header_name must be set when identifier is header"
  elseif config.identifier == "path" and type(config.path) ~= "string" then
    return nil, "path must be set when identifier is path"
  elseif config.strategy == "redis" and type(config.sync_rate) == "number"
    and config.sync_rate > 0 and config.sync_rate < 0.02
  then
    return nil, "Config option 'sync_rate' must not be between 0 and 0.02"
  end
  return true
end

return {
  name = "ai-rate-limiting-advanced",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      custom_validator = validate,
      fields = {
        { identifier = text("consumer", {
          "ip", "credential", "consumer", "service", "header", "path", "consumer-group",
        }, "Whose use is counted together.") },
        { header_name = typedefs.header_name },
        { path = typedefs.path },
        { llm_providers = {
          type = "array",
          elements = provider,
          description = "Limits by provider.",
        } },
        { policies = {
          type = "array",
          elements = policy,
          description = "Limits by what a request is.",
        } },
        { window_type = text("sliding", { "fixed", "sliding" }) },
        { tokens_count_strategy = text("total_tokens", strategies) },
        { strategy = text("local", { "cluster", "redis", "local" }) },
        { sync_rate = {
          type = "number",
          description = "Seconds between two exchanges with Redis; 0: at every request, -1: never.",
        } },
        { namespace = { type = "string", description = "What the counters belong to." } },
        { dictionary_name = text "kong_rate_limiting_counters" },
        { redis = redis },
        fields.format(),
        { error_code = { type = "number", default = 429, gt = 0 } },
        { error_message = text "AI token rate limit exceeded for provider(s): " },
        { error_hide_providers = flag(false) },
        { hide_client_headers = flag(false) },
        { retry_after_jitter_max = { type = "number", default = 0 } },
        { disable_penalty = flag(false) },
        { decrease_by_fractions_in_redis = flag(false) },
        { request_prompt_count_function = code "What a request costs the provider requestPrompt." },
        { custom_cost_count_function = code "What a request has cost the provider customCost." },
      },
    } },
  },
}
