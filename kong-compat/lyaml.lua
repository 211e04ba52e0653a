-- YAML 1.1 as Lua values, and back: the module `lyaml`.

local host = require "silverback.host"

local _M = { _VERSION = "6.2.8" }

-- What stands for nothing.
_M.null = setmetatable({}, { __tostring = function() return "yaml.null" end, _type = "LYAML null" })

local WORDS = { [""] = _M.null, ["~"] = _M.null, null = _M.null, Null = _M.null, NULL = _M.null }
for word, value in pairs { ["true"] = true, yes = true, on = true, ["false"] = false, no = false,
  off = false } do
  WORDS[word], WORDS[word:upper()] = value, value
  WORDS[word:sub(1, 1):upper() .. word:sub(2)] = value
end
for _, word in ipairs { "inf", "Inf", "INF" } do
  WORDS["." .. word], WORDS["+." .. word], WORDS["-." .. word] = math.huge, math.huge, -math.huge
end
for _, word in ipairs { "nan", "NaN", "NAN" } do
  WORDS["." .. word] = 0 / 0
end

-- Numbers of base 60, such as 1:30.
local function sexagesimal(digits)
  local number = 0
  for part in digits:gmatch("[^:]+") do
    number = number * 60 + tonumber(part)
  end
  return number
end

local function number_of(text)
  local sign, digits = text:match("^([+-]?)(.*)$")
  digits = digits:gsub("_", "")
  local number
  if digits:find("^0[0-7]+$") then
    number = tonumber(digits, 8)
  elseif digits:find("^0b[01]+$") then
    number = tonumber(digits:sub(3), 2)
  elseif digits:find("^0x%x+$") then
    number = tonumber(digits:sub(3), 16)
  elseif digits:find("^%d+:[0-5]?%d[:%d]*%.?%d*$") then
    number = sexagesimal(digits)
  elseif digits:find("^%d+%.?%d*[eE]?[+-]?%d*$") or digits:find("^%.%d+[eE]?[+-]?%d*$") then
    number = tonumber(digits)
  end
  return number and (sign == "-" and -number or number)
end

-- What a plain scalar stands for: the text itself if it is no word and no number.
local function implicit(text)
  local word = WORDS[text]
  if word ~= nil then
    return word
  end
  return number_of(text) or text
end

local TAGS = {
  str = function(text) return text end,
  int = number_of,
  float = function(text) return number_of(text) or WORDS[text] end,
  bool = function(text) return WORDS[text] end,
  null = function() return _M.null end,
}

local function scalar(event)
  local by_tag = TAGS[event.tag]
  if by_tag then
    local value = by_tag(event.value)
    if value == nil then
      error(("invalid '%s' value: '%s'"):format(event.tag, event.value), 0)
    end
    return value
  end
  if event.plain then
    return implicit(event.value)
  end
  return event.value
end

-- `<<`: fields of other maps that are not there.
local function merge(map, sources)
  for _, source in ipairs(sources[1] ~= nil and sources or { sources }) do
    if type(source) ~= "table" then
      error("invalid '<<' merge value", 0)
    end
    for key, value in pairs(source) do
      if map[key] == nil then
        map[key] = value
      end
    end
  end
end

-- A collection that is being filled.
local function put(frame, value)
  if frame.kind == "list" then
    frame.value[#frame.value + 1] = value
  elseif frame.key == nil then
    frame.key = value
  else
    if frame.key == "<<" and type(value) == "table" then
      frame.merges[#frame.merges + 1] = value
    else
      frame.value[frame.key] = value
    end
    frame.key = nil
  end
end

local function documents_of(events)
  local documents, anchors, stack = {}, {}, {}
  local function add(value, anchor)
    if anchor then
      anchors[anchor] = value
    end
    local frame = stack[#stack]
    if frame then
      put(frame, value)
    else
      documents[#documents + 1] = value
    end
  end
  for _, event in ipairs(events) do
    if event.kind == "scalar" then
      add(scalar(event), event.anchor)
    elseif event.kind == "alias" then
      add(anchors[event.anchor])
    elseif event.kind == "end" then
      local frame = table.remove(stack)
      for _, source in ipairs(frame.merges) do
        merge(frame.value, source)
      end
    elseif event.kind ~= "document" then
      local value = {}
      add(value, event.anchor)
      stack[#stack + 1] = { kind = event.kind, value = value, merges = {} }
    end
  end
  return documents
end

-- The first document, or with `all` a list of them. What is wrong is an error.
function _M.load(text, options)
  if type(text) ~= "string" then
    error(("bad argument #1 to 'lyaml.load' (string expected, got %s)"):format(type(text)), 2)
  end
  local events, err = host.yaml_events(text)
  if not events then
    error(err, 2)
  end
  local documents = documents_of(events)
  local all = options == true or type(options) == "table" and options.all
  if all then
    return documents
  end
  return documents[1]
end

local function is_list(value)
  local count = 0
  for _ in pairs(value) do
    count = count + 1
  end
  return count == #value
end

-- A scalar as it has to be written so that it is read back as what it is.
local function text_of(value)
  if value == _M.null or value == ngx.null then
    return "~"
  elseif value ~= value then
    return ".nan"
  elseif value == math.huge or value == -math.huge then
    return value > 0 and ".inf" or "-.inf"
  elseif type(value) ~= "string" then
    return tostring(value)
  elseif implicit(value) ~= value then
    return "'" .. value .. "'"
  elseif value:find("[%c\127]") then
    return '"' .. value:gsub('[%c\127"\\]', function(char)
      return char == "\n" and "\\n" or char == "\t" and "\\t"
        or char:find('["\\]') and "\\" .. char or ("\\x%02x"):format(char:byte())
    end) .. '"'
  elseif value:find("^[%s%-?:,%[%]{}#&*!|>'\"%%@`]") or value:find(": ") or value:find(" #")
    or value:find("[:%s]$")
  then
    return "'" .. value:gsub("'", "''") .. "'"
  end
  return value
end

local dump_node

-- Keys in an order, so that equal tables give equal texts.
local function sorted_keys(map)
  local keys = {}
  for key in pairs(map) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then
      return a < b
    end
    return tostring(a) < tostring(b)
  end)
  return keys
end

local function dump_collection(value, indent, out, seen)
  if seen[value] then
    error("cannot dump a table that holds itself", 0)
  end
  seen[value] = true
  if is_list(value) then
    for _, one in ipairs(value) do
      out[#out + 1] = indent .. "-"
      dump_node(one, indent, out, seen, true)
    end
  else
    for _, key in ipairs(sorted_keys(value)) do
      out[#out + 1] = indent .. text_of(key) .. ":"
      dump_node(value[key], indent, out, seen, false)
    end
  end
  seen[value] = nil
end

-- Behind what was written last on its line, or on lines of its own.
function dump_node(value, indent, out, seen, in_list)
  if type(value) ~= "table" or value == _M.null then
    out[#out] = out[#out] .. " " .. text_of(value)
  elseif next(value) == nil then
    out[#out] = out[#out] .. " []"
  elseif in_list then
    local first = #out + 1
    dump_collection(value, indent .. "  ", out, seen)
    -- The first line follows the dash.
    out[first - 1] = out[first - 1] .. " " .. table.remove(out, first):sub(#indent + 3)
  else
    dump_collection(value, is_list(value) and indent or indent .. "  ", out, seen)
  end
end

-- A text of documents.
function _M.dump(documents)
  local out = {}
  for _, document in ipairs(documents) do
    out[#out + 1] = "---"
    if type(document) == "table" and document ~= _M.null and next(document) ~= nil then
      dump_collection(document, "", out, {})
    else
      dump_node(document, "", out, {}, false)
    end
    out[#out + 1] = "..."
  end
  return table.concat(out, "\n") .. "\n"
end

return _M
