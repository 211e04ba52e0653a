-- Variables of the environment: `resty.env`.

local _M = { _VERSION = "0.4.0" }

local known = {}

function _M.get(name)
  if known[name] == nil then
    known[name] = os.getenv(name) or false
  end
  return known[name] or nil
end

-- A value that is not empty.
function _M.value(name)
  local value = _M.get(name)
  return value ~= "" and value or nil
end

local WORDS = { ["1"] = true, ["true"] = true, ["0"] = false, ["false"] = false }

-- True or false; nil if the variable says neither.
function _M.enabled(name)
  return WORDS[_M.get(name)]
end

-- For Lua code alone: other threads read the environment of the process.
function _M.set(name, value)
  local before = _M.get(name)
  known[name] = value == nil and false or tostring(value)
  return before
end

function _M.reset()
  known = {}
  return _M
end

function _M.list()
  local all = {}
  for name, value in pairs(known) do
    all[name] = value or nil
  end
  return all
end

return _M
