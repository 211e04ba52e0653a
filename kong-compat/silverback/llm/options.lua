-- The options of a model: what requests ask of it, where it is, and what it costs.

local typedefs = require "kong.db.schema.typedefs"
local providers = require "silverback.llm.providers"

local function text(description)
  return { type = "string", required = false, description = description }
end

local function integer(description)
  return { type = "integer", required = false, description = description }
end

local function number(description)
  return { type = "number", required = false, description = description }
end

local function price(description)
  return { type = "number", required = false, gt = 0, description = description }
end

local function one_of(values, description)
  return { type = "string", required = false, one_of = values, description = description }
end

local function required(kind, rest)
  local field = rest or {}
  field.type, field.required = kind, true
  return field
end

local function list_of(fields, description)
  return {
    type = "array",
    required = false,
    description = description,
    elements = { type = "record", fields = fields },
  }
end

return {
  type = "record",
  required = false,
  description = "Options of the model and of its provider.",
  fields = {
    -- Sent to the model. What is set here wins over the request.
    { max_tokens = integer "The most tokens of a reply." },
    { temperature = { type = "number", required = false, between = { 0, 5 } } },
    { top_p = { type = "number", required = false, between = { 0, 1 } } },
    { top_k = { type = "integer", required = false, between = { 0, 500 } } },
    { embeddings_dimensions = integer "The size of vectors." },

    -- Where it is.
    { upstream_url = typedefs.url {
      required = false,
      description = "The whole address, in place of the provider's.",
    } },
    { upstream_path = text "The path alone; Kong announces its removal for 4.0." },
    { azure_instance = text "The name of the Azure OpenAI resource, before .openai.azure.com." },
    { azure_deployment_id = text "The name of the deployment." },
    { azure_api_version = {
      type = "string",
      required = false,
      default = "2023-05-15",
      description = "The api-version of requests that name none.",
    } },
    -- Of Kong's next versions.
    { azure_service = one_of({ "azure-openai", "azure-foundry" },
      "Whose host and paths: the resource's own, or those of Foundry.") },
    { azure_foundry_resource = text "The name of the Foundry resource." },
    { azure_foundry_domain = text "What follows it; services.ai.azure.com unless set." },
    { azure_foundry_path_prefix = text(
      "What precedes an operation: /openai/v1 unless set, /anthropic/v1 for Claude.") },
    -- Ours.
    { azure_domain = text "What follows azure_instance; openai.azure.com unless set." },
    { max_tokens_field = one_of({ "auto", "max_tokens", "max_completion_tokens" },
      "The name under which the limit of a reply goes to the model; auto goes by its name.") },
    { azure_filter_events = one_of({ "raw", "fold", "drop" },
      "Events of streams with nothing but filter results: passed, put into the next, left out.") },
    { include_usage = one_of({ "auto", "always", "never" },
      "Whether a stream that is counted is asked for its tokens; auto: where it is understood.") },
    { anthropic_version = text "The version header of Anthropic's API." },
    { llama2_format = one_of({ "raw", "openai", "ollama" }, "What a self-hosted Llama speaks.") },
    { mistral_format = one_of({ "openai", "ollama" }, "What a Mistral speaks.") },
    { gemini = providers.gemini },
    { bedrock = providers.bedrock },
    { huggingface = providers.huggingface },
    { cohere = providers.cohere },
    { dashscope = providers.dashscope },
    { databricks = providers.databricks },

    -- What it costs, by the million tokens.
    { input_cost = price "The price of prompt tokens." },
    { output_cost = price "The price of completion tokens." },
    { cache_read_cost = number "The price of cached prompt tokens." },
    { cache_write_cost = number "The price of tokens put in the cache." },
    { cache_write_cost_list = list_of({
      { ttl = required "string" },
      { cost = required "number" },
    }, "The price of tokens put in the cache for a time, such as 5m.") },
    { context_window_factor = list_of({
      { above = required "string" },
      { input_factor = required "number" },
      { output_factor = required "number" },
    }, "What prices are multiplied with above a number of prompt tokens.") },
    { service_tier_factor = list_of({
      { tier = required("string", { len_min = 1 }) },
      { factor = required "number" },
    }, "What prices are multiplied with in a tier of service.") },
  },
}
