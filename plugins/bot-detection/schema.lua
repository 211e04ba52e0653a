local typedefs = require "kong.db.schema.typedefs"

local function expressions(description)
  return {
    type = "array",
    elements = { type = "string", is_regex = true },
    default = {},
    description = description,
  }
end

return {
  name = "bot-detection",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { allow = expressions "User agents that pass, also if they are bots." },
        { deny = expressions "User agents that are refused, beside the known bots." },
      },
    } },
  },
}
