local typedefs = require "kong.db.schema.typedefs"
local llm = require "silverback.llm"

-- Clients may speak these formats to the provider of the same name, for chats.
local function native_format(format)
  local err = "native llm_format '%s' can only be used with the '%s' model.provider"
  return { conditional = {
    if_field = "config.llm_format", if_match = { eq = format },
    then_field = "config.model.provider", then_match = { eq = format },
    then_err = err:format(format, format),
  } }
end

return {
  name = "ai-proxy",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = llm.join(llm.target_fields(), llm.plugin_fields {
        "audio/speech", "audio/transcription", "image/generation", "text/embeddings",
        "text/generation", "video/generation",
      }),
      entity_checks = llm.target_checks,
    } },
  },
  entity_checks = {
    { conditional = {
      if_field = "config.llm_format", if_match = { one_of = { "bedrock", "gemini" } },
      then_field = "config.route_type", then_match = { eq = "llm/v1/chat" },
      then_err = "native provider options in llm_format "
        .. "can only be used with the 'llm/v1/chat' route_type",
    } },
    native_format "bedrock",
    native_format "gemini",
  },
}
