-- JSON: the module `cjson`. What it reads and writes is decided in silverback's host.

local host = require "silverback.host"

local json_encode, json_decode = host.json_encode, host.json_decode

-- What an instance begins with (lua-cjson).
local DEFAULTS = {
  depth = 1000,
  decode_depth = 1000,
  precision = 14,
  invalid = "off",
  decode_invalid = true,
  sparse_converts = false,
  sparse_ratio = 2,
  sparse_safe = 10,
  empty_is_object = true,
  escape_slash = false,
  keep_buffer = true,
  marks_arrays = false,
  skips = false,
  indent = "",
}
local INT_MAX = 2147483647

local function refuse(name, place, told)
  error(("bad argument #%d to '%s' (%s)"):format(place, name, told), 4)
end

local function whole(name, place, value, least, most)
  local number = tonumber(value)
  if not number then
    refuse(name, place, "number expected, got " .. type(value))
  end
  number = math.floor(number)
  if number < least or number > most then
    refuse(name, 1, ("expected integer between %d and %d"):format(least, most))
  end
  return number
end

local function flag(name, place, value, words)
  if type(value) == "boolean" then
    return value
  end
  if type(value) == "number" then
    value = tostring(value)
  elseif type(value) ~= "string" then
    refuse(name, place, "string expected, got " .. type(value))
  end
  if value == "on" or value == "off" then
    return value == "on"
  end
  if words and words[value] then
    return value
  end
  refuse(name, place, "invalid option '" .. value .. "'")
end

local function new()
  local _M = {
    _NAME = "cjson",
    _VERSION = "2.1.0.14",
    null = ngx.null,
    array_mt = host.array_mt,
    empty_array_mt = host.empty_array_mt,
    empty_array = host.empty_array,
  }
  local options = {}
  -- What the host needs to know; nil while nothing differs.
  local encodes, decodes

  local function get(name)
    local value = options[name]
    if value == nil then
      return DEFAULTS[name]
    end
    return value
  end

  local function set(name, value)
    options[name] = value
    encodes = options
    decodes = { depth = get("decode_depth"), marks = get("marks_arrays"),
                strict = not get("decode_invalid") }
  end

  local function few(name, most, ...)
    if select("#", ...) > most then
      refuse(name, most + 1, "found too many arguments")
    end
    return ...
  end

  local function option(name, key, read)
    _M[name] = function(...)
      local value = few(name, 1, ...)
      if value ~= nil then
        set(key, read(value))
      end
      return get(key)
    end
  end

  local function number_option(name, key, most)
    option(name, key, function(value)
      return whole(name, 1, value, 1, most)
    end)
  end

  local function flag_option(name, key)
    option(name, key, function(value)
      return flag(name, 1, value)
    end)
  end

  function _M.encode(...)
    if select("#", ...) ~= 1 then
      error("bad argument #1 to 'encode' (expected 1 argument)", 2)
    end
    return json_encode((...), encodes)
  end

  function _M.decode(...)
    if select("#", ...) ~= 1 then
      error("bad argument #1 to 'decode' (expected 1 argument)", 2)
    end
    local text = ...
    if type(text) == "number" then
      text = tostring(text)
    end
    if type(text) ~= "string" then
      error(("bad argument #1 to 'decode' (string expected, got %s)"):format(type(text)), 2)
    end
    return json_decode(text, decodes)
  end

  number_option("encode_max_depth", "depth", INT_MAX)
  number_option("decode_max_depth", "decode_depth", INT_MAX)
  number_option("encode_number_precision", "precision", 16)
  flag_option("decode_array_with_array_mt", "marks_arrays")
  flag_option("decode_invalid_numbers", "decode_invalid")
  flag_option("encode_empty_table_as_object", "empty_is_object")
  flag_option("encode_escape_forward_slash", "escape_slash")
  flag_option("encode_keep_buffer", "keep_buffer")
  flag_option("encode_skip_unsupported_value_types", "skips")

  function _M.encode_invalid_numbers(...)
    local value = few("encode_invalid_numbers", 1, ...)
    if value ~= nil then
      local read = flag("encode_invalid_numbers", 1, value, { null = true })
      set("invalid", read == "null" and "null" or read and "on" or "off")
    end
    local now = get("invalid")
    if now == "null" then
      return now
    end
    return now == "on"
  end

  function _M.encode_sparse_array(...)
    local converts, ratio, safe = few("encode_sparse_array", 3, ...)
    if converts ~= nil then
      set("sparse_converts", flag("encode_sparse_array", 1, converts))
    end
    if ratio ~= nil then
      set("sparse_ratio", whole("encode_sparse_array", 2, ratio, 0, INT_MAX))
    end
    if safe ~= nil then
      set("sparse_safe", whole("encode_sparse_array", 3, safe, 0, INT_MAX))
    end
    return get("sparse_converts"), get("sparse_ratio"), get("sparse_safe")
  end

  _M.new = new
  return _M
end

return new()
