-- Fields that the AI plugins around a model have in common (Kong Gateway 3.15).

local llm = require "silverback.llm"
local typedefs = require "kong.db.schema.typedefs"

local _M = {}

-- How much of a request is looked into.
function _M.body_limit()
  return { max_request_body_size = {
    type = "integer",
    default = 1024 * 1024,
    between = { 0, 2 ^ 31 - 1 },
    description = "The longest request body, in bytes, that is looked into; 0 sets no limit.",
  } }
end

-- What clients speak.
function _M.format()
  return { llm_format = {
    type = "string",
    required = false,
    default = "openai",
    one_of = { "anthropic", "bedrock", "cohere", "gemini", "huggingface", "openai" },
    description = "The API that clients speak.",
  } }
end

local function proxy(scheme)
  local what = "of the proxy for " .. scheme .. ":// addresses."
  return
    { [scheme .. "_proxy_host"] = typedefs.host { description = "Host name " .. what } },
    { [scheme .. "_proxy_port"] = typedefs.port { description = "Port " .. what } }
end

-- The model of a plugin that asks one by itself: a target of ai-proxy-advanced.
local model = {
  type = "record",
  required = true,
  description = "The model that is asked.",
  entity_checks = llm.target_checks,
  fields = llm.join(llm.target_fields(), {
    { weight = {
      type = "integer",
      required = false,
      default = 100,
      between = { 1, 65535 },
      description = "Without effect here.",
    } },
    { description = { type = "string", required = false, description = "Without effect here." } },
    { metadata = { type = "json", required = false, description = "Free data." } },
  }),
}

-- The fields of both transformers.
function _M.transformer()
  local http_host, http_port = proxy "http"
  local https_host, https_port = proxy "https"
  return {
    { prompt = {
      type = "string",
      required = true,
      description = "What the model is told to do with the body that follows.",
    } },
    { transformation_extract_pattern = {
      type = "string",
      required = false,
      description = "An expression (PCRE) for the part of the answer that is used; "
        .. "an answer without it is a failure.",
    } },
    { http_timeout = {
      type = "integer",
      required = true,
      default = 60000,
      description = "Milliseconds to connect to the model, and between two reads.",
    } },
    { https_verify = {
      type = "boolean",
      required = true,
      default = true,
      description = "Whether the certificate of the model's endpoint is verified.",
    } },
    _M.body_limit(),
    http_host,
    http_port,
    https_host,
    https_port,
    { llm = model },
  }
end

-- The rules of both transformers.
_M.transformer_checks = {
  { conditional = {
    if_field = "config.llm.route_type",
    if_match = { not_one_of = { "llm/v1/chat" } },
    then_field = "config.llm.route_type",
    then_match = { eq = "llm/v1/chat" },
    then_err = "'config.llm.route_type' must be 'llm/v1/chat' for AI transformer plugins",
  } },
  { mutually_required = { "config.http_proxy_host", "config.http_proxy_port" } },
  { mutually_required = { "config.https_proxy_host", "config.https_proxy_port" } },
}

return _M
