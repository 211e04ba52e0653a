-- Headers by any spelling of their name: `h.content_type` and `h["CONTENT-TYPE"]` are one. A loop
-- sees names as they were first written.

local function hyphened(name)
  return (name:gsub("_", "-"))
end

local _M = { _VERSION = "0.17.2" }

function _M.new(_)
  -- How each name was written first, by its lower case.
  local spelling = {}
  return setmetatable({}, {
    normalised = spelling,
    __index = function(headers, name)
      if type(name) ~= "string" then
        return nil
      end
      local known = spelling[hyphened(name):lower()]
      return known and rawget(headers, known)
    end,
    __newindex = function(headers, name, value)
      if type(name) ~= "string" then
        rawset(headers, name, value)
        return
      end
      local key = hyphened(name)
      local known = spelling[key:lower()]
      if not known then
        spelling[key:lower()] = key
      end
      rawset(headers, known or key, value)
    end,
  })
end

return _M
