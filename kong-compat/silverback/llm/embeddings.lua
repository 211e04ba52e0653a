-- The model that turns texts into vectors for the semantic balancer.

local typedefs = require "kong.db.schema.typedefs"
local auth = require "silverback.llm.auth"
local providers = require "silverback.llm.providers"

return {
  type = "record",
  required = false,
  description = "The embedding model.",
  fields = {
    { auth = auth },
    { model = {
      type = "record",
      required = true,
      fields = {
        { provider = {
          type = "string",
          required = true,
          one_of = { "azure", "bedrock", "gemini", "huggingface", "mistral", "ollama", "openai" },
        } },
        { name = { type = "string", required = true } },
        { options = {
          type = "record",
          required = false,
          fields = {
            { upstream_url = typedefs.url { required = false } },
            { azure = providers.embeddings_azure },
            { bedrock = providers.bedrock },
            { gemini = providers.embeddings_gemini },
            { huggingface = providers.huggingface },
          },
        } },
      },
    } },
  },
}
