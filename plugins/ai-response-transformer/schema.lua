local typedefs = require "kong.db.schema.typedefs"
local llm = require "silverback.llm"
local fields = require "silverback.llm.fields"

return {
  name = "ai-response-transformer",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = llm.join(fields.transformer(), {
        { parse_llm_response_json_instructions = {
          type = "boolean",
          required = true,
          default = false,
          description = "Whether the model answers with JSON that says status, headers and body.",
        } },
      }),
    } },
  },
  entity_checks = fields.transformer_checks,
}
