-- The parts of a multipart body (RFC 2046, section 5.1). Parts that are not named stay as they are.

local _M = {}
_M.__index = _M

local function boundary_of(content_type)
  return content_type:match('boundary="([^"]+)"') or content_type:match("boundary=([^;%s]+)")
end

local function name_of(head)
  for line in head:gmatch("[^\r\n]+") do
    if line:lower():find("^content%-disposition:") then
      return line:match(';%s*name="([^"]*)"') or line:match(";%s*name=([^;%s]+)")
    end
  end
end

-- Where a delimiter is and where it ends, from some place on; and whether it is the last one. What
-- only begins like a delimiter is none.
local function next_delimiter(text, delimiter, from)
  local start, stop = text:find(delimiter, from, true)
  while start do
    local _, line_end = text:find("^[ \t]*\r\n", stop + 1)
    local is_last = text:find("^%-%-", stop + 1) ~= nil
    if line_end or is_last then
      return start, line_end or stop, is_last
    end
    start, stop = text:find(delimiter, stop + 1, true)
  end
end

-- Reads a body; nil when its type has no boundary.
function _M.parse(body, content_type)
  local boundary = boundary_of(content_type)
  if not boundary then
    return nil
  end
  local text, parts = "\r\n" .. body, {}
  local _, after, is_last = next_delimiter(text, "\r\n--" .. boundary, 1)
  while after and not is_last do
    local start = after + 1
    local stop
    stop, after, is_last = next_delimiter(text, "\r\n--" .. boundary, after - 1)
    if stop then
      local part = text:sub(start, stop - 1)
      local head, value = part:match("^(.-)\r\n\r\n(.*)$")
      parts[#parts + 1] = { text = part, name = head and name_of(head), value = value }
    end
  end
  return setmetatable({ boundary = boundary, parts = parts }, _M)
end

-- The first part of a name.
function _M:get(name)
  for _, part in ipairs(self.parts) do
    if part.name == name then
      return part
    end
  end
end

function _M:delete(name)
  for at = #self.parts, 1, -1 do
    if self.parts[at].name == name then
      table.remove(self.parts, at)
    end
  end
end

-- Puts a part with a plain value in the place of those with this name.
function _M:set(name, value)
  self:delete(name)
  local quoted = name:gsub('[\r\n"]', { ["\r"] = "%0D", ["\n"] = "%0A", ['"'] = "%22" })
  local head = ('Content-Disposition: form-data; name="%s"'):format(quoted)
  self.parts[#self.parts + 1] = {
    text = head .. "\r\n\r\n" .. value,
    name = name,
    value = value,
  }
end

function _M:encode()
  local lines = {}
  for _, part in ipairs(self.parts) do
    lines[#lines + 1] = "--" .. self.boundary .. "\r\n" .. part.text .. "\r\n"
  end
  return table.concat(lines) .. "--" .. self.boundary .. "--\r\n"
end

return _M
