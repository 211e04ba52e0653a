local templates = require "kong.plugins.request-transformer.templates"
local typedefs = require "kong.db.schema.typedefs"
local validate_header_name = require("kong.tools.http").validate_header_name

local function header_error(name)
  if validate_header_name(name) == nil then
    return ("'%s' is not a valid header"):format(tostring(name))
  end
end

local function check_name(entry)
  local err = header_error((templates.pair(entry)))
  return not err, err
end

local function check_names(entry)
  local old, new = templates.pair(entry)
  local err = header_error(old) or header_error(new)
  return not err, err
end

-- What is not a header must have a value, and one that can be rendered.
local function check_value(entry)
  local name, value = templates.pair(entry)
  if not name or value == "" then
    return false, ("key '%s' has no value"):format(name or "")
  end
  local ok, err = templates.compile(value)
  if not ok then
    return false, ("value '%s' is not in supported format, error:%s"):format(value, err)
  end
  return true
end

local function list(validator, match)
  return {
    type = "array",
    default = {},
    required = true,
    elements = { type = "string", match = match, custom_validator = validator },
  }
end

-- The three places where a change may be, and the field of one change that others do not have.
local function changes(description, values, headers, extra)
  return {
    type = "record",
    description = description,
    fields = { { body = values }, { headers = headers }, { querystring = values }, extra },
  }
end

local PAIR = "^[^:]+:.*$"
local names = changes("What is taken away.", list(), list(check_name))
local renames = changes("What gets another name.", list(check_value), list(check_names, PAIR))

local function values(description, extra)
  return changes(description, list(check_value), list(check_name, PAIR), extra)
end

return {
  name = "request-transformer",
  fields = {
    { protocols = typedefs.protocols },
    { config = {
      type = "record",
      fields = {
        { http_method = typedefs.http_method },
        { remove = names },
        { rename = renames },
        { replace = values("What changes if it is there.", {
          uri = { type = "string", description = "The path that the upstream gets." },
        }) },
        { add = values "What is added if it is not there." },
        { append = values "What is added in any case." },
      },
    } },
  },
}
