-- What plugins use of Penlight's `stringx`.

local strings = require "kong.tools.string"

local _M = { split = strings.split }

function _M.strip(text, chars)
  if not chars then
    return strings.strip(text)
  end
  local set = "[" .. chars:gsub("[%]%^%-%%]", "%%%0") .. "]"
  return (text:gsub("^" .. set .. "+", ""):gsub(set .. "+$", ""))
end

function _M.lstrip(text)
  return (text:match("^%s*(.*)$"))
end

function _M.rstrip(text)
  return (text:match("^(.-)%s*$"))
end

function _M.startswith(text, start)
  return text:sub(1, #start) == start
end

function _M.endswith(text, tail)
  return tail == "" or text:sub(-#tail) == tail
end

function _M.join(separator, list)
  return table.concat(list, separator)
end

-- Every occurrence of a plain text becomes another.
function _M.replace(text, old, new, limit)
  local parts, from, count = {}, 1, 0
  while not limit or count < limit do
    local first, last = text:find(old, from, true)
    if not first or last < first then
      break
    end
    parts[#parts + 1] = text:sub(from, first - 1)
    parts[#parts + 1] = new
    from, count = last + 1, count + 1
  end
  return table.concat(parts) .. text:sub(from), count
end

function _M.count(text, part)
  return (select(2, _M.replace(text, part, "")))
end

function _M.partition(text, separator)
  local first, last = text:find(separator, 1, true)
  if not first then
    return text, "", ""
  end
  return text:sub(1, first - 1), separator, text:sub(last + 1)
end

function _M.splitlines(text)
  local lines = {}
  for line in (text:gsub("\r\n", "\n") .. "\n"):gmatch("(.-)\n") do
    lines[#lines + 1] = line
  end
  if lines[#lines] == "" then
    lines[#lines] = nil
  end
  return lines
end

return _M
