-- The module `lxp.lom` of LuaExpat: an XML text as tables. An element has its name in `tag`, its
-- attributes in `attr` (names in order, and values by name), and its content in order.

local _M = {}

local DEPTH_MAX = 200
local NAMED = { lt = "<", gt = ">", amp = "&", quot = '"', apos = "'" }

local function utf8(code)
  if code < 128 then
    return string.char(code)
  elseif code < 2048 then
    return string.char(192 + math.floor(code / 64), 128 + code % 64)
  elseif code < 65536 then
    return string.char(224 + math.floor(code / 4096), 128 + math.floor(code / 64) % 64,
                       128 + code % 64)
  end
  return string.char(240 + math.floor(code / 262144), 128 + math.floor(code / 4096) % 64,
                     128 + math.floor(code / 64) % 64, 128 + code % 64)
end

local function entity(name)
  local hex, decimal = name:match("^#x(%x+)$"), name:match("^#(%d+)$")
  local code = hex and tonumber(hex, 16) or tonumber(decimal)
  if code and code < 1114112 then
    return utf8(code)
  end
  return NAMED[name]
end

local function plain(text)
  return (text:gsub("\r\n?", "\n"):gsub("&([^;&]+);", entity))
end

local function attributes(text)
  local attr, at = {}, 1
  while true do
    local name, quote, from = text:match("^%s*([^%s=]+)%s*=%s*([\"'])()", at)
    if not name then
      return text:find("%S", at) == nil and attr or nil
    end
    local stop = text:find(quote, from, true)
    if not stop or attr[name] then
      return nil
    end
    attr[#attr + 1] = name
    attr[name] = plain(text:sub(from, stop - 1)):gsub("[\t\n]", " ")
    at = stop + 1
  end
end

-- Text between two tags: pieces that follow each other are one.
local function add_text(element, text)
  if text == "" or not element.tag then
    return
  end
  local last = element[#element]
  if type(last) == "string" then
    element[#element] = last .. text
  else
    element[#element + 1] = text
  end
end

-- What is no element: comments, instructions, declarations, and text that is to be taken as it is.
local SKIPPED = {
  { "^<!%-%-", "-->" }, { "^<%?", "?>" }, { "^<!%[CDATA%[", "]]>", true }, { "^<!", ">" },
}

local function skip(text, at, element)
  for _, kind in ipairs(SKIPPED) do
    local _, stop = text:find(kind[1], at)
    if stop then
      local first, last = text:find(kind[2], stop + 1, true)
      if first and kind[3] then
        add_text(element, text:sub(stop + 1, first - 1))
      end
      return first and last + 1, "unclosed token"
    end
  end
end

-- Opens or closes an element with the tag that stands here.
local function tag(stack, text, at)
  local stop = text:find(">", at, true)
  local whole = text:sub(at, stop or at)
  local slash, name, rest = whole:match "^<(/?)([%a_:][^%s/>]*)(.*)>$"
  local element = stack[#stack]
  if not name or whole:find("<", 2, true) then
    return nil, "not well-formed (invalid token)"
  elseif slash == "/" then
    if element.tag ~= name then
      return nil, "mismatched tag"
    end
    stack[#stack] = nil
    return stop + 1
  end
  local empty = rest:sub(-1) == "/"
  local attr = attributes(empty and rest:sub(1, -2) or rest)
  if not attr or #stack > DEPTH_MAX or (#stack == 1 and element[1]) then
    return nil, attr and "junk after document element" or "not well-formed (invalid token)"
  end
  local made = { tag = name, attr = attr }
  element[#element + 1] = made
  if not empty then
    stack[#stack + 1] = made
  end
  return stop + 1
end

-- The element of a text, or of an iterator's pieces; nil and what is wrong, with line, column and
-- position.
function _M.parse(source)
  local text = source
  if type(source) == "function" then
    local parts = {}
    for piece in source do
      parts[#parts + 1] = piece
    end
    text = table.concat(parts)
  end
  local stack, at = { {} }, 1
  local function fail(told, where)
    local before = text:sub(1, where - 1)
    local _, lines = before:gsub("\n", "")
    return nil, told, lines + 1, #before:match("[^\n]*$") + 1, where
  end
  while at <= #text do
    local next_tag = text:find("<", at, true) or #text + 1
    local between = text:sub(at, next_tag - 1)
    if #stack == 1 and between:find("%S") then
      return fail(stack[1][1] and "junk after document element" or "syntax error", at)
    end
    add_text(stack[#stack], plain(between))
    at = next_tag
    if at <= #text then
      local after, told = skip(text, at, stack[#stack])
      if not after and not told then
        after, told = tag(stack, text, at)
      end
      if not after then
        return fail(told, at)
      end
      at = after
    end
  end
  if #stack > 1 or not stack[1][1] then
    return fail("no element found", #text + 1)
  end
  return stack[1][1]
end

-- The first element of this name, at any depth.
function _M.find_elem(element, name)
  if element.tag == name then
    return element
  end
  for _, child in ipairs(element) do
    local found = type(child) == "table" and _M.find_elem(child, name)
    if found then
      return found
    end
  end
end

-- The children that are elements, or those of one name, one after the other.
function _M.list_children(element, name)
  local at = 0
  return function()
    repeat
      at = at + 1
      local child = element[at]
      if type(child) == "table" and (name == nil or child.tag == name) then
        return child
      end
    until child == nil
  end
end

return _M
