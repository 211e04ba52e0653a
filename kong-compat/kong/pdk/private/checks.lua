-- Header values as Kong takes them.

local _M = {}

local function plain(value)
  if type(value) == "string" then
    return value == "" and " " or value
  end
  return tostring(value)
end

_M.normalize_header = plain

function _M.normalize_multi_header(value)
  if type(value) ~= "table" then
    return plain(value)
  end
  local values = {}
  for i, one in ipairs(value) do
    values[i] = one == "" and " " or one
  end
  return values
end

local SCALAR = { string = true, number = true, boolean = true }

local function check(name, value, expected)
  if type(name) ~= "string" then
    error(("invalid header name %q: got %s, expected string"):format(
      tostring(name), type(name)), 4)
  elseif type(value) == "table" then
    for _, one in ipairs(value) do
      if type(one) ~= "string" then
        error(("invalid header value in array %q: got %s, expected string"):format(
          name, type(one)), 4)
      end
    end
  elseif not SCALAR[type(value)] then
    error(("invalid header value for %q: got %s, expected " .. expected):format(
      name, type(value)), 4)
  end
end

function _M.validate_header(name, value)
  check(name, value, "array of string, string, number or boolean")
  if type(value) == "number" or type(value) == "boolean" then
    return tostring(value)
  end
  return value
end

function _M.validate_headers(headers)
  if type(headers) ~= "table" then
    error("headers must be a table", 3)
  end
  for name, value in pairs(headers) do
    check(name, value, "string, number, boolean or array of strings")
  end
end

return _M
