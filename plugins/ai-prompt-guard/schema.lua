local typedefs = require "kong.db.schema.typedefs"
local fields = require "silverback.llm.fields"

local function patterns(description)
  return {
    type = "array",
    required = false,
    len_max = 10,
    elements = { type = "string", len_min = 1, len_max = 500 },
    description = description,
  }
end

local function flag(description)
  return { type = "boolean", required = true, default = false, description = description }
end

return {
  name = "ai-prompt-guard",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { allow_patterns = patterns "A prompt must match one of these expressions (PCRE)." },
        { deny_patterns = patterns "A prompt must match none of these expressions (PCRE)." },
        { allow_all_conversation_history = flag "Whether only the last message is looked at." },
        { match_all_roles = flag "Whether messages of every role are looked at, not only user's." },
        fields.body_limit(),
        fields.format(),
        { genai_category = {
          type = "string",
          required = false,
          default = "text/generation",
          one_of = {
            "audio/speech", "audio/transcription", "image/generation", "realtime/generation",
            "text/embeddings", "text/generation",
          },
          description = "What kind of work this is, for analytics.",
        } },
      },
    } },
  },
  entity_checks = {
    { at_least_one_of = { "config.allow_patterns", "config.deny_patterns" } },
    { conditional = {
      if_field = "config.match_all_roles", if_match = { eq = true },
      then_field = "config.allow_all_conversation_history", then_match = { eq = false },
    } },
  },
}
