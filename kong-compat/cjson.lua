-- JSON: the module `cjson`. What it reads and writes is decided in silverback's host.

local host = require "silverback.host"

local json_encode, json_decode = host.json_encode, host.json_decode

local function new()
  local _M = {
    _NAME = "cjson",
    _VERSION = "2.1.0.14",
    null = ngx.null,
    array_mt = host.array_mt,
    empty_array_mt = host.empty_array_mt,
    empty_array = setmetatable({}, host.empty_array_mt),
  }
  local options
  local marks_arrays = false

  local function option(name, value)
    options = options or {}
    options[name] = value
  end

  function _M.encode(value)
    return json_encode(value, options)
  end

  function _M.decode(text)
    if type(text) == "number" then
      text = tostring(text)
    end
    if type(text) ~= "string" then
      error(("bad argument #1 to 'decode' (string expected, got %s)"):format(
        text == nil and "no value" or type(text)), 2)
    end
    return json_decode(text, marks_arrays)
  end

  function _M.decode_array_with_array_mt(on)
    if on ~= nil then
      marks_arrays = on and true or false
    end
    return marks_arrays
  end

  function _M.encode_number_precision(digits)
    option("precision", digits)
    return digits
  end

  function _M.encode_empty_table_as_object(on)
    option("empty_is_object", on and on ~= "off" or false)
    return on
  end

  function _M.encode_escape_forward_slash(on)
    option("escape_slash", on and true or false)
    return on
  end

  function _M.encode_max_depth(depth)
    option("depth", depth)
    return depth
  end

  function _M.decode_max_depth(depth)
    return depth
  end

  function _M.encode_sparse_array(convert, ratio, safe)
    option("sparse_converts", convert)
    option("sparse_ratio", ratio)
    option("sparse_safe", safe)
    return convert, ratio, safe
  end

  function _M.encode_keep_buffer(on)
    return on
  end

  function _M.encode_invalid_numbers(on)
    return on
  end

  function _M.decode_invalid_numbers(on)
    return on
  end

  _M.new = new
  return _M
end

return new()
