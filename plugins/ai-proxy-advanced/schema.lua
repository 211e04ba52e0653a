local typedefs = require "kong.db.schema.typedefs"
local llm = require "silverback.llm"
local embeddings = require "silverback.llm.embeddings"
local vectordb = require "silverback.llm.vectordb"

local function one_of(values, default, description)
  return {
    type = "string",
    required = false,
    default = default,
    one_of = values,
    description = description,
  }
end

local function milliseconds(default, description)
  return {
    type = "integer",
    required = false,
    default = default,
    between = { 1, 2 ^ 31 - 2 },
    description = description,
  }
end

-- Not in Kong: a target that asks for patience gets it.
local cooling = {
  type = "record",
  required = false,
  description = "Targets that answer with a time to wait are left alone for that time.",
  fields = {
    { enabled = {
      type = "boolean",
      required = false,
      default = true,
      description = "Whether they are, where this record is set.",
    } },
    { statuses = {
      type = "array",
      required = false,
      default = { 429, 503 },
      elements = { type = "integer", between = { 400, 599 } },
      description = "The answers that are looked at.",
    } },
    { max_seconds = {
      type = "number",
      required = false,
      default = 60,
      between = { 0.001, 86400 },
      description = "The longest that a target is left alone.",
    } },
  },
}

-- Not in Kong: limits of what goes to a group of lower priority.
local spill = {
  type = "record",
  required = false,
  description = "Who may be sent to a group of lower priority than the first, and how much.",
  fields = {
    { deny_consumer_groups = {
      type = "array",
      required = false,
      elements = { type = "string" },
      description = "Consumer groups whose requests stay with the first group.",
    } },
    { max_tokens = {
      type = "integer",
      required = false,
      gt = 0,
      description = "The tokens that may be spilled in a window.",
    } },
    { max_cost = {
      type = "number",
      required = false,
      gt = 0,
      description = "The money that may be spilled in a window, by the prices of the targets.",
    } },
    { window_size = {
      type = "integer",
      required = false,
      default = 3600,
      between = { 1, 31536000 },
      description = "The seconds of a window.",
    } },
  },
}

local balancer = {
  type = "record",
  required = true,
  description = "How requests are spread over the targets.",
  fields = {
    { algorithm = one_of({
      "consistent-hashing", "least-connections", "lowest-latency", "lowest-usage", "priority",
      "round-robin", "semantic",
    }, "round-robin") },
    { tokens_count_strategy = one_of({
      "completion-tokens", "cost", "llm-accuracy", "prompt-tokens", "total-tokens",
    }, "total-tokens", "What lowest-usage counts.") },
    { latency_strategy = one_of({ "e2e", "tpot" }, "tpot", "What lowest-latency measures.") },
    { hash_on_header = {
      type = "string",
      required = false,
      default = "X-Kong-LLM-Request-ID",
      description = "The header that consistent-hashing looks at.",
    } },
    { slots = { type = "integer", required = false, default = 10000, between = { 10, 65536 } } },
    { retries = {
      type = "integer",
      required = false,
      default = 5,
      between = { 0, 32767 },
      description = "Further attempts after the first one failed.",
    } },
    { connect_timeout = milliseconds(60000, "To connect.") },
    { write_timeout = milliseconds(60000, "Between two writes.") },
    { read_timeout = milliseconds(60000, "Between two reads.") },
    { failover_criteria = {
      type = "array",
      required = false,
      default = { "error", "timeout" },
      elements = { type = "string", one_of = {
        "error", "http_403", "http_404", "http_429", "http_500", "http_502", "http_503", "http_504",
        "invalid_header", "non_idempotent", "timeout",
      } },
      description = "What makes a request go on to the next target.",
    } },
    { max_fails = {
      type = "integer",
      required = false,
      default = 0,
      between = { 0, 32767 },
      description = "The failures that take a target out of rotation; 0 leaves it in.",
    } },
    { fail_timeout = milliseconds(10000, "For which it is out of rotation.") },
    { cooling = cooling },
    { spill = spill },
  },
}

local target = {
  type = "record",
  entity_checks = llm.target_checks,
  fields = llm.join(llm.target_fields(), {
    { weight = {
      type = "integer",
      required = false,
      default = 100,
      between = { 1, 65535 },
      description = "The share of this target; for `priority` also its group.",
    } },
    { description = {
      type = "string",
      required = false,
      description = "What the semantic balancer compares with prompts; CATCHALL takes the rest.",
    } },
    { metadata = { type = "json", required = false, description = "Free data." } },
  }),
}

local acl_rules = {
  type = "array",
  required = false,
  len_min = 1,
  elements = {
    type = "record",
    fields = {
      { match = {
        type = "array",
        required = true,
        len_min = 1,
        description = "The conditions of the rule, all of which must hold.",
        elements = {
          type = "record",
          fields = {
            { type = {
              type = "string",
              required = true,
              one_of = {
                "consumer", "consumer_group", "header", "ip", "model", "path", "provider",
              },
            } },
            { key = { type = "string", required = false } },
            { values = {
              type = "array",
              required = true,
              len_min = 1,
              elements = { type = "string" },
            } },
          },
        },
      } },
    },
  },
}

-- Demands a record when prompts decide on the target.
local function semantic_needs(field)
  return { conditional_at_least_one_of = {
    if_field = "balancer.algorithm", if_match = { eq = "semantic" },
    then_at_least_one_of = { field },
    then_err = "must set %s for balancer algorithm 'semantic'",
  } }
end

return {
  name = "ai-proxy-advanced",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      -- Older documents write the only target in place, as in ai-proxy.
      implied_element = {
        array = "targets",
        fields = { "route_type", "auth", "model", "logging" },
      },
      fields = llm.join({
        { targets = {
          type = "array",
          required = true,
          len_min = 1,
          elements = target,
          description = "The models.",
        } },
        { balancer = balancer },
        { embeddings = embeddings },
        { vectordb = vectordb },
        { acls = {
          type = "record",
          required = false,
          description = "Who may use the models: a denial counts more than an allowance.",
          fields = { { allow = acl_rules }, { deny = acl_rules } },
        } },
      }, llm.plugin_fields {
        "audio/speech", "audio/transcription", "image/generation", "realtime/generation",
        "text/embeddings", "text/generation", "video/generation",
      }),
      entity_checks = { semantic_needs "embeddings", semantic_needs "vectordb" },
    } },
  },
}
