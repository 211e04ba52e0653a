-- The schema of pre-function and post-function.

local typedefs = require "kong.db.schema.typedefs"

local PHASES = {
  { "certificate", "Code for the TLS handshake." },
  { "rewrite", "Code that runs before there is a Route; only if the plugin is global." },
  { "access", "Code that runs before the upstream is called." },
  { "header_filter", "Code that runs when the head of the response is known." },
  { "body_filter", "Code that runs for each piece of the response body." },
  { "log", "Code that runs when the response has gone out." },
}

-- The code is compiled and not run.
local function validator(name)
  return function(code)
    local _, err = loadstring(code)
    if err then
      return false, "error parsing " .. name .. ": " .. err
    end
    return true
  end
end

return function(name)
  local fields, paths = {}, {}
  for i, phase in ipairs(PHASES) do
    fields[i] = {
      [phase[1]] = {
        type = "array",
        required = true,
        default = {},
        description = phase[2],
        elements = { type = "string", required = false, custom_validator = validator(name) },
      },
    }
    paths[i] = "config." .. phase[1]
  end
  return {
    name = name,
    fields = {
      { consumer = typedefs.no_consumer },
      { protocols = typedefs.protocols },
      { config = { type = "record", fields = fields } },
    },
    entity_checks = { { at_least_one_of = paths } },
  }
end
