-- The module `resty.openssl.x509.name`: a distinguished name, part by part.

local der = require "silverback.openssl.der"
local objects = require "resty.openssl.objects"

local _M = {}
local mt = { __index = _M }

-- Two bytes for a letter, or four.
local function from_wide(text, width)
  return (text:gsub(("."):rep(width), function(letter)
    local code = 0
    for i = 1, width do
      code = code * 256 + letter:byte(i)
    end
    return code < 128 and string.char(code) or "?"
  end))
end

local function text_of(value)
  if value.tag == 0x1e then
    return from_wide(value.content, 2)
  elseif value.tag == 0x1c then
    return from_wide(value.content, 4)
  end
  return value.content
end

-- A name from its DER; nil if it is none.
function _M.from_der(bytes)
  local sets = der.all(der.take(bytes, 1, der.SEQUENCE) or "\0")
  if not sets then
    return nil
  end
  local entries = {}
  for _, set in ipairs(sets) do
    for _, pair in ipairs(der.all(set.content) or {}) do
      local id, after = der.take(pair.content, 1, der.OID)
      local tag, content = der.read(pair.content, after or 1)
      if not id or not tag then
        return nil
      end
      local entry = objects.obj2table(id)
      entry.blob = text_of { tag = tag, content = content }
      entry.tag = tag
      entries[#entries + 1] = entry
    end
  end
  return setmetatable({ ctx = true, entries = entries }, mt)
end

function _M:to_der()
  local sets = {}
  for i, entry in ipairs(self.entries) do
    local tag = entry.tag
    if not tag then
      tag = entry.blob:find "[\128-\255]" and der.UTF8
        or (entry.nid == 48 or entry.nid == 391) and der.IA5
        or entry.nid == 14 and der.PRINTABLE or der.UTF8
    elseif tag == 0x1e or tag == 0x1c then
      tag = der.UTF8
    end
    local pair = der.sequence(der.write(der.OID, der.oid(entry.id)), der.write(tag, entry.blob))
    sets[i] = der.write(der.SET, pair)
  end
  return der.sequence(table.concat(sets))
end

function _M.new()
  return setmetatable({ ctx = true, entries = {} }, mt)
end

function _M.istype(object)
  return getmetatable(object) == mt
end

local function view(entry)
  return { id = entry.id, nid = entry.nid, sn = entry.sn, ln = entry.ln, blob = entry.blob }
end

function _M:add(id, text)
  local dotted = objects.id_of(id)
  if not dotted then
    return nil, "x509.name:add: invalid NID text " .. tostring(id or "nil")
  end
  local entry = objects.obj2table(der.oid(dotted))
  entry.blob = text
  self.entries[#self.entries + 1] = entry
  return self
end

function _M:find(id, last)
  local dotted = objects.id_of(id)
  if not dotted then
    return nil, nil, "x509.name:find: invalid NID text " .. tostring(id or "nil")
  end
  for i = (last or 0) + 1, #self.entries do
    if self.entries[i].id == dotted then
      return view(self.entries[i]), i
    end
  end
end

local function key_of(entry)
  return entry.nid ~= 0 and entry.sn or entry.id
end

function _M:each()
  local i = 0
  return function()
    i = i + 1
    local entry = self.entries[i]
    if entry then
      return key_of(entry), view(entry)
    end
  end
end

function _M:all()
  local found = {}
  for key, entry in self:each() do
    found[key] = entry
  end
  return found
end

function _M:tostring()
  local texts = {}
  for key, entry in self:each() do
    texts[#texts + 1] = key .. "=" .. entry.blob
  end
  table.sort(texts)
  return table.concat(texts, "/")
end

mt.__tostring = _M.tostring
mt.__pairs = function(self)
  return self:each()
end
mt.__len = function(self)
  return #self.entries
end
mt.__eq = function(a, b)
  return a:to_der() == b:to_der()
end

return _M
