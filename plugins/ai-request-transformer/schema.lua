local typedefs = require "kong.db.schema.typedefs"
local fields = require "silverback.llm.fields"

return {
  name = "ai-request-transformer",
  fields = {
    { protocols = typedefs.protocols_http },
    { consumer = typedefs.no_consumer },
    { config = { type = "record", fields = fields.transformer() } },
  },
  entity_checks = fields.transformer_checks,
}
