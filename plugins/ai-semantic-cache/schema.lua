local typedefs = require "kong.db.schema.typedefs"
local embeddings = require "silverback.llm.embeddings"
local fields = require "silverback.llm.fields"
local vectordb = require "silverback.llm.vectordb"

local function flag(description)
  return { type = "boolean", required = true, default = false, description = description }
end

local function required(field)
  local copy = {}
  for name, value in pairs(field) do
    copy[name] = value
  end
  copy.required = true
  return copy
end

return {
  name = "ai-semantic-cache",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { embeddings = required(embeddings) },
        { vectordb = required(vectordb) },
        { cache_ttl = {
          type = "integer",
          default = 300,
          gt = 0,
          description = "Seconds for which a reply is kept.",
        } },
        { message_countback = {
          type = "number",
          default = 1,
          between = { 1, 1000 },
          description = "How many messages, from the last one, are compared.",
        } },
        { ignore_system_prompts = flag "Whether messages of the system do not count." },
        { ignore_assistant_prompts = flag "Whether messages of the assistant do not count." },
        { ignore_tool_prompts = flag "Whether messages of tools do not count." },
        { exact_caching = flag "Whether the very same request is looked for first." },
        { cache_control = flag "Whether Cache-Control of requests and replies counts." },
        { stop_on_failure = flag "Whether a failure of the cache is one of the request." },
        fields.format(),
      },
    } },
  },
}
