-- `cjson` whose functions return nil and a message instead of raising it.

local cjson = require "cjson"

-- Errors come with the place of the caller, which is here, and with a name that `pcall` does not
-- know.
local function plain(err)
  return (tostring(err):gsub("^[^:]+:%d+: ", ""):gsub("to '[^']*' ", "to '?' ", 1))
end

local function result_or_error(ok, result)
  if ok then
    return result
  end
  return nil, plain(result)
end

-- The number of arguments is looked at before anything is caught (lua-cjson).
local function safely(name, f)
  return function(...)
    if select("#", ...) ~= 1 then
      error(("bad argument #1 to '%s' (expected 1 argument)"):format(name), 2)
    end
    return result_or_error(pcall(f, ...))
  end
end

local function new()
  local _M = cjson.new()
  _M.encode = safely("encode", _M.encode)
  _M.decode = safely("decode", _M.decode)
  _M.new = new
  return _M
end

-- The instance that everybody gets is one that Kong has changed.
local safe = new()
safe.encode_sparse_array(nil, nil, 2 ^ 15)
safe.encode_number_precision(16)
return safe
