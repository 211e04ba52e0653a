-- Texts as files: Penlight's `stringio`.

local Reader = {}
Reader.__index = Reader

-- What one format of `read` gives.
local function take(self, format)
  local text, at = self.text, self.at
  format = type(format) == "string" and format:gsub("^%*", ""):sub(1, 1) or format
  if format == "a" then
    self.at = #text + 1
    return text:sub(at)
  elseif at > #text then
    return nil
  elseif type(format) == "number" then
    self.at = at + format
    return text:sub(at, self.at - 1)
  elseif format == "n" then
    local digits, last = text:match("^%s*([+-]?[%d%.]+[eE]?[+-]?%d*)()", at)
    self.at = last or at
    return tonumber(digits)
  end
  local first = text:find("\n", at, true) or #text + 1
  self.at = first + 1
  return text:sub(at, format == "L" and first or first - 1)
end

function Reader:read(...)
  local formats, values = { ... }, {}
  if #formats == 0 then
    formats[1] = "l"
  end
  for i, format in ipairs(formats) do
    values[i] = take(self, format)
  end
  return unpack(values, 1, #formats)
end

function Reader:lines(format)
  return function()
    return self:read(format or "l")
  end
end

function Reader:seek(whence, offset)
  local base = whence == "set" and 0 or whence == "end" and #self.text or self.at - 1
  self.at = base + (offset or 0) + 1
  return self.at - 1
end

function Reader:close() end

local Writer = {}
Writer.__index = Writer

function Writer:write(...)
  for i = 1, select("#", ...) do
    self[#self + 1] = tostring((select(i, ...)))
  end
  return self
end

function Writer:writef(format, ...)
  return self:write(format:format(...))
end

function Writer:value()
  return table.concat(self)
end

Writer.__tostring = Writer.value
function Writer:close() end
function Writer:seek() end

return {
  create = function() return setmetatable({}, Writer) end,
  open = function(text) return setmetatable({ text = text, at = 1 }, Reader) end,
}
