local typedefs = require "kong.db.schema.typedefs"
local validate_header_name = require("kong.tools.http").validate_header_name

-- `old:new`, both of them header names.
local function validate_rename(pair)
  local old, new = pair:match("^([^:]+):*(.-)$")
  for _, name in ipairs { old, new } do
    if not validate_header_name(name) then
      return nil, ("'%s' is not a valid header"):format(name)
    end
  end
  return true
end

local function list(elements)
  return { type = "array", required = true, default = {}, elements = elements }
end

local name = { type = "string" }
local pair = { type = "string", match = "^[^:]+:.*$" }

local names = {
  type = "record",
  fields = {
    { json = list(name) },
    { headers = list(name) },
  },
}

local renames = {
  type = "record",
  fields = {
    { json = list(pair) },
    { headers = list {
      type = "string",
      match = "^[^:]+:.*$",
      custom_validator = validate_rename,
    } },
  },
}

-- The n-th of `json_types` is the type of the n-th value in `json`.
local values = {
  type = "record",
  fields = {
    { json = list(pair) },
    { json_types = list { type = "string", one_of = { "boolean", "number", "string" } } },
    { headers = list(pair) },
  },
}

return {
  name = "response-transformer",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { remove = names },
        { rename = renames },
        { replace = values },
        { add = values },
        { append = values },
      },
    } },
  },
}
