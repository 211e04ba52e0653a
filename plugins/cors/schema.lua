local typedefs = require "kong.db.schema.typedefs"
local host = require "silverback.host"

local METHODS = {
  "GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT",
}

local function validate_origin(value)
  if value == "*" or not host.regex_error(value) then
    return true
  end
  return nil, string.format("'%s' is not a valid regex", value)
end

local function flag(default, description)
  return { type = "boolean", required = true, default = default, description = description }
end

local function names(description)
  return { type = "array", elements = { type = "string" }, description = description }
end

return {
  name = "cors",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { origins = {
          type = "array",
          elements = { type = "string", custom_validator = validate_origin },
          description = "Origins that may read replies, or expressions for them; without any, all.",
        } },
        { headers = names("Headers that a request may have; without any, those it asks for.") },
        { exposed_headers = names("Headers of the reply that a script may read.") },
        { methods = {
          type = "array",
          default = METHODS,
          elements = { type = "string", one_of = METHODS },
          description = "Methods that a request may have.",
        } },
        { max_age = {
          type = "number",
          description = "Seconds for which a browser keeps the answer to a preflight.",
        } },
        { credentials = flag(false, "Whether requests may come with credentials.") },
        { private_network = flag(false, "Whether pages outside of a private network may ask.") },
        { preflight_continue = flag(false, "Whether the upstream answers preflights.") },
        { allow_origin_absent = flag(true, "Whether replies to no origin have the headers, too.") },
      },
    } },
  },
}
