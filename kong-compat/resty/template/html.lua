-- HTML elements as functions: `resty.template.html`.

local template = require "resty.template"

local function attributes_of(attributes)
  local parts = {}
  for key, value in pairs(attributes or {}) do
    local text = template.escape(value)
    parts[#parts + 1] = " " .. (type(key) == "number" and text or key .. '="' .. text .. '"')
  end
  return table.concat(parts)
end

local function tag(name, content, attributes)
  local head = "<" .. name .. attributes_of(attributes)
  if type(content) ~= "string" then
    return head .. " />"
  end
  return head .. ">" .. template.escape(content) .. "</" .. name .. ">"
end

return setmetatable({}, {
  __index = function(_, name)
    return function(first)
      if type(first) ~= "table" then
        return tag(name, first or "")
      end
      return setmetatable({}, {
        __tostring = function() return tag(name, nil, first) end,
        __call = function(_, content) return tag(name, content, first) end,
      })
    end
  end,
})
