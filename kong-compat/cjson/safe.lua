-- `cjson` whose functions return nil and a message instead of raising it.

local cjson = require "cjson"

-- Errors come with the place of the caller, which is here.
local function plain(err)
  return (tostring(err):gsub("^[^:]+:%d+: ", ""))
end

local function safely(f)
  return function(...)
    local ok, result = pcall(f, ...)
    if ok then
      return result
    end
    return nil, plain(result)
  end
end

local function new()
  local _M = cjson.new()
  _M.encode = safely(_M.encode)
  _M.decode = safely(_M.decode)
  _M.new = new
  return _M
end

-- The instance that everybody gets is one that Kong has changed.
local safe = new()
safe.encode_sparse_array(nil, nil, 2 ^ 15)
safe.encode_number_precision(16)
return safe
