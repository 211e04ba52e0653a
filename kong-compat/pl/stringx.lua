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

local function all(pattern)
  return function(text)
    return text:find(pattern) == 1
  end
end

_M.isalpha = all "^%a+$"
_M.isdigit = all "^%d+$"
_M.isalnum = all "^%w+$"
_M.isspace = all "^%s+$"

_M.islower = all "^[%l%s]+$"
_M.isupper = all "^[%u%s]+$"

-- Where a plain text stands first, and last.
function _M.lfind(text, part, first, last)
  local from, to = text:find(part, first, true)
  if from and (not last or to <= last) then
    return from
  end
end

function _M.rfind(text, part, first, last)
  local found
  local from, to = text:find(part, first or 1, true)
  while from and (not last or to <= last) do
    found = from
    from, to = text:find(part, from + 1, true)
  end
  return found
end

function _M.rpartition(text, separator)
  local at = _M.rfind(text, separator)
  if not at then
    return "", "", text
  end
  return text:sub(1, at - 1), separator, text:sub(at + #separator)
end

function _M.at(text, index)
  return text:sub(index, index)
end

function _M.ljust(text, width, fill)
  return text .. (fill or " "):rep(width - #text)
end

function _M.rjust(text, width, fill)
  return (fill or " "):rep(width - #text) .. text
end

function _M.center(text, width, fill)
  local left = math.floor(math.max(width - #text, 0) / 2)
  return _M.ljust(_M.rjust(text, #text + left, fill), width, fill)
end

function _M.title(text)
  return (text:gsub("(%S)(%S*)", function(first, rest)
    return first:upper() .. rest:lower()
  end))
end

-- A text that is too long with dots at its end, or in front with `tail`.
function _M.shorten(text, width, tail)
  if #text <= width then
    return text
  end
  if width < 3 then
    return ("."):rep(width)
  end
  if tail then
    return "..." .. text:sub(-(width - 3))
  end
  return width == 3 and "..." or text:sub(1, width - 3) .. "..."
end

function _M.lines(text)
  return (text .. (text:sub(-1) == "\n" and "" or "\n")):gmatch("([^\n]*)\n")
end

-- Puts these functions among those of every text.
function _M.import()
  for name, f in pairs(_M) do
    string[name] = string[name] or f
  end
end

return _M
