-- What ai-proxy and ai-proxy-advanced configure alike: one model at one provider.
--
-- ai-proxy has these fields in its config, ai-proxy-advanced in each of its targets. The fields are
-- those of Kong Gateway 3.15; the azure_* ones that Kong does not have say so.

local null = ngx.null
local auth = require "silverback.llm.auth"
local options = require "silverback.llm.options"

local PROVIDERS = {
  "anthropic", "azure", "bedrock", "cerebras", "cohere", "dashscope", "databricks", "deepseek",
  "gemini", "huggingface", "llama2", "mistral", "ollama", "openai", "vllm", "xai",
}

local ROUTE_TYPES = {
  "audio/v1/audio/speech", "audio/v1/audio/transcriptions", "audio/v1/audio/translations",
  "image/v1/images/edits", "image/v1/images/generations",
  "llm/v1/assistants", "llm/v1/batches", "llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings",
  "llm/v1/files", "llm/v1/responses",
  "preserve",
  "realtime/v1/realtime",
  "video/v1/videos/generations",
}

local model = {
  type = "record",
  required = true,
  description = "Which model answers.",
  fields = {
    { provider = {
      type = "string",
      required = true,
      one_of = PROVIDERS,
      description = "Whose API the upstream speaks.",
    } },
    { name = {
      type = "string",
      required = false,
      description = "The model; without it the request names one.",
    } },
    { model_alias = {
      type = "string",
      required = false,
      description = "Another name by which requests may mean this model.",
    } },
    { options = options },
  },
}

local logging = {
  type = "record",
  required = true,
  description = "What log plugins get to see.",
  fields = {
    { log_statistics = {
      type = "boolean",
      required = true,
      default = false,
      description = "Tokens, latency and cost.",
    } },
    { log_payloads = {
      type = "boolean",
      required = true,
      default = false,
      description = "The bodies of requests and replies.",
    } },
  },
}

-- Demands an option of a provider; `err` takes the quoted name of the field.
local function needs(providers, option, err)
  return { conditional_at_least_one_of = {
    if_field = "model.provider",
    if_match = { one_of = providers },
    then_at_least_one_of = { "model.options." .. option },
    then_err = err,
  } }
end

-- Demands an option of provider azure, whose Foundry has other names for things.
local function azure_needs(option)
  return { custom_entity_check = {
    field_sources = { "model" },
    fn = function(entity)
      local model = entity.model
      local options = type(model.options) == "table" and model.options or {}
      if model.provider ~= "azure" or options.azure_service == "azure-foundry" then
        return true
      end
      if options[option] == nil or options[option] == null then
        return nil, ("must set 'model.options.%s' for azure provider"):format(option)
      end
      return true
    end,
  } }
end

-- The one combination whose replies carry no statistics.
local function check_statistics(entity)
  if entity.logging.log_statistics
    and entity.route_type == "llm/v1/completions"
    and entity.model.provider == "anthropic"
  then
    return nil, "anthropic does not support statistics when route_type is llm/v1/completions"
  end
  return true
end

local _M = {}

-- The fields of one model, of which each caller gets its own list to add to.
function _M.target_fields()
  return {
    { route_type = {
      type = "string",
      required = true,
      one_of = ROUTE_TYPES,
      description = "What clients ask for; `preserve` passes requests on as they are.",
    } },
    { auth = auth },
    { model = model },
    { logging = logging },
  }
end

-- Rules across the fields of one model.
_M.target_checks = {
  { conditional = {
    if_field = "model.provider",
    if_match = { one_of = { "bedrock", "gemini" } },
    then_field = "auth.allow_override",
    then_match = { eq = false },
    then_err = "bedrock and gemini only support auth.allow_override = false",
  } },
  { mutually_required = { "auth.header_name", "auth.header_value" } },
  { mutually_required = { "auth.param_name", "auth.param_value", "auth.param_location" } },

  needs({ "llama2" }, "llama2_format", "must set %s for llama2 provider"),
  needs({ "mistral" }, "mistral_format", "must set %s for mistral provider"),
  needs({ "anthropic" }, "anthropic_version", "must set %s for anthropic provider"),
  azure_needs "azure_instance",
  azure_needs "azure_api_version",
  azure_needs "azure_deployment_id",
  needs({ "llama2", "ollama", "vllm" }, "upstream_url",
    "must set %s for self-hosted providers/models"),

  { custom_entity_check = {
    field_sources = { "route_type", "model", "logging" },
    fn = check_statistics,
  } },
}

-- The fields beside the model or the targets.
function _M.plugin_fields(genai_categories)
  return {
    { response_streaming = {
      type = "string",
      required = false,
      default = "allow",
      one_of = { "allow", "deny", "always" },
      description = "Whether replies are streamed: as the client wishes, never, or always.",
    } },
    { max_request_body_size = {
      type = "integer",
      default = 1024 * 1024,
      between = { 0, 2 ^ 31 - 1 },
      description = "The longest request body, in bytes, that is looked into; 0 sets no limit.",
    } },
    { model_name_header = {
      type = "boolean",
      default = true,
      description = "Whether replies say in X-Kong-LLM-Model which model gave them.",
    } },
    { llm_format = {
      type = "string",
      required = false,
      default = "openai",
      one_of = { "anthropic", "bedrock", "cohere", "gemini", "huggingface", "openai" },
      description = "The API that clients speak.",
    } },
    { genai_category = {
      type = "string",
      required = false,
      default = "text/generation",
      one_of = genai_categories,
      description = "What kind of work this is, for analytics.",
    } },
  }
end

-- All of these lists as one.
function _M.join(...)
  local joined = {}
  for _, list in ipairs { ... } do
    for _, item in ipairs(list) do
      joined[#joined + 1] = item
    end
  end
  return joined
end

return _M
