local host = require "silverback.host"
local typedefs = require "kong.db.schema.typedefs"

-- The native plugin matches with Rust's `regex`, not with PCRE.
local function is_expression(text)
  if host.regex_error(text) then
    return nil, "not a valid regex: " .. text
  end
  return true
end

local function expressions(description)
  return {
    type = "array",
    elements = { type = "string", custom_validator = is_expression },
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
