-- Texts: Penlight's `stringx`.

local _M = {}

-- A class of characters for a pattern; blanks if there are none.
local function class_of(chars)
  return chars and "[" .. chars:gsub("[%]%^%-%%]", "%%%0") .. "]" or "%s"
end

function _M.lstrip(text, chars)
  return text:sub((select(2, text:find("^" .. class_of(chars) .. "*"))) + 1)
end

function _M.rstrip(text, chars)
  local class, last = class_of(chars), #text
  while last > 0 and text:find(class, last) == last do
    last = last - 1
  end
  return text:sub(1, last)
end

function _M.strip(text, chars)
  return _M.rstrip(_M.lstrip(text, chars), chars)
end

-- A list of pieces: at a plain separator, or at blanks.
function _M.split(text, separator, limit)
  local List = require "pl.List"
  local pieces, from, plain = List(), 1, separator ~= nil
  if not plain then
    separator, from = "%s+", (text:find("%S")) or #text + 1
  elseif separator == "" then
    return List { text }
  elseif text == "" then
    return List()
  elseif text == separator then
    return List { "" }
  end
  while not limit or #pieces < limit - 1 do
    local first, last = text:find(separator, from, plain)
    if not first then
      break
    end
    pieces[#pieces + 1] = text:sub(from, first - 1)
    from = last + 1
  end
  local rest = text:sub(from)
  if plain or rest ~= "" then
    pieces[#pieces + 1] = rest
  end
  return pieces
end

function _M.splitv(text, separator)
  return require("pl.utils").splitv(text, separator)
end

local function any(texts, f)
  if type(texts) == "string" then
    return f(texts)
  elseif type(texts) ~= "table" then
    error("argument #2 expected a 'string' or a 'table', got a '" .. type(texts) .. "'", 3)
  end
  for _, one in ipairs(texts) do
    if f(one) then
      return true
    end
  end
  return false
end

function _M.startswith(text, starts)
  return any(starts, function(start) return text:sub(1, #start) == start end)
end

function _M.endswith(text, tails)
  return any(tails, function(tail) return tail == "" or text:sub(-#tail) == tail end)
end

function _M.join(separator, list)
  return table.concat(list, separator)
end

-- Every occurrence of a plain text becomes another.
function _M.replace(text, old, new, limit)
  local parts, from, count = {}, 1, 0
  while not limit or count < limit do
    local first, last = text:find(old, from, true)
    if not first or old == "" and from > #text + 1 then
      break
    end
    parts[#parts + 1] = text:sub(from, first - 1) .. new
    if old == "" then
      -- Nothing is in front of each character and behind the last.
      parts[#parts + 1] = text:sub(from, from)
      last = from
    end
    from, count = last + 1, count + 1
  end
  return table.concat(parts) .. text:sub(from)
end

function _M.count(text, part, overlapping)
  local count, from = 0, 1
  if part == "" then
    return #text
  end
  while true do
    local first, last = text:find(part, from, true)
    if not first then
      return count
    end
    count, from = count + 1, overlapping and first + 1 or last + 1
  end
end

function _M.partition(text, separator)
  assert(separator ~= "", "argument 2: '' must be a non-empty string")
  local first, last = text:find(separator, 1, true)
  if not first then
    return text, "", ""
  end
  return text:sub(1, first - 1), separator, text:sub(last + 1)
end

-- Lines; with `keep`, their ends as well.
function _M.splitlines(text, keep)
  local lines, from = require "pl.List"(), 1
  while from <= #text do
    local first = text:find("[\r\n]", from) or #text + 1
    local last = text:sub(first, first + 1) == "\r\n" and first + 1 or math.min(first, #text)
    lines[#lines + 1] = text:sub(from, keep and last or first - 1)
    from = last + 1
  end
  return lines
end

local function all(pattern)
  return function(text)
    return text:find(pattern) == 1
  end
end

_M.isalpha, _M.isdigit = all "^%a+$", all "^%d+$"
_M.isalnum, _M.isspace = all "^%w+$", all "^%s+$"

_M.islower, _M.isupper = all "^[%l%s]+$", all "^[%u%s]+$"

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
  while from and (not last or to <= last) and from <= #text + 1 do
    found = from
    from, to = text:find(part, from + 1, true)
  end
  return found
end

function _M.rpartition(text, separator)
  assert(separator ~= "", "argument 2: '' must be a non-empty string")
  local at = _M.rfind(text, separator)
  if not at then
    return "", "", text
  end
  return text:sub(1, at - 1), separator, text:sub(at + #separator)
end

function _M.at(text, index)
  return text:sub(index, index)
end

function _M.expandtabs(text, size)
  size = size or 8
  return (text:gsub("([^\t\r\n]*)\t", function(before)
    return before .. (" "):rep(size - #before % size)
  end))
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

_M.capitalize = _M.title

-- A text that is too long with dots at its end, or in front with `tail`.
function _M.shorten(text, width, tail)
  if #text <= width then
    return text
  elseif width < 3 then
    return ("."):rep(width)
  elseif tail then
    return "..." .. (width > 3 and text:sub(-(width - 3)) or "")
  end
  return text:sub(1, width - 3) .. "..."
end

-- The most `=` in what could be taken for a long bracket; nil without one.
local function longest_bracket(text)
  local longest
  for bracket, equals, at in text:gmatch("([%[%]])(=*)()") do
    if text:sub(at, at) == bracket then
      longest = math.max(longest or 0, #equals)
    end
  end
  return longest
end

-- A text as Lua code has it, in brackets if it has several lines or brackets of its own.
function _M.quote_string(text)
  local equals = longest_bracket(text .. "]")
  if (text:find("\n", 1, true) or equals) and not text:find("\r", 1, true) then
    equals = ("="):rep((equals or -1) + 1)
    -- Lua leaves a line end out that comes first.
    local first = text:sub(1, 1) == "\n" and "\n" or ""
    return "[" .. equals .. "[" .. first .. text .. "]" .. equals .. "]"
  end
  return (("%q"):format(text):gsub("\r", "\\r"))
end

function _M.lines(text)
  return (text .. (text:sub(-1) == "\n" and "" or "\n")):gmatch("([^\n]*)\n")
end

for _, name in ipairs { "indent", "dedent", "wrap", "fill", "format_operator" } do
  _M[name] = function(...)
    return require("silverback.texts")[name](...)
  end
end

_M.Template = setmetatable({}, {
  __call = function(_, text) return require("silverback.texts").Template(text) end,
})

-- How many arguments of a function have to be texts, where it is not the first alone.
local TEXTS = { lfind = 2, rfind = 2, partition = 2, rpartition = 2, replace = 3 }

local NUMBERS = { at = true, center = true, ljust = true, rjust = true }

local function check(name, ...)
  for i = 1, NUMBERS[name] and 2 or TEXTS[name] or 1 do
    local kind, wanted = type((select(i, ...))), i == 2 and NUMBERS[name] and "number" or "string"
    if kind ~= wanted then
      error(("argument %d expected a '%s', got a '%s'"):format(i, wanted, kind), 3)
    end
  end
end

for name, f in pairs(_M) do
  if type(f) == "function" and name ~= "format_operator" then
    _M[name] = function(...)
      check(name, ...)
      return f(...)
    end
  end
end

-- Puts these functions among those of every text.
function _M.import()
  for name, f in pairs(_M) do
    string[name] = string[name] or f
  end
end

return _M
