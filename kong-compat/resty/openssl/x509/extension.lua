-- The module `resty.openssl.x509.extension`: one extension of a certificate, and its text for those
-- that people read.

local der = require "silverback.openssl.der"
local objects = require "resty.openssl.objects"

local _M = {}
local mt = { __index = _M }

-- `entry` has the dotted `id`, `critical` and the `value` in DER.
function _M.wrap(entry)
  return setmetatable({ ctx = entry }, mt)
end

function _M.istype(object)
  return getmetatable(object) == mt
end

function _M.dup(ctx)
  if type(ctx) ~= "table" or not ctx.id then
    return nil, "x509.extension.dup: expect a x509.extension ctx at #1"
  end
  return _M.wrap { id = ctx.id, critical = ctx.critical, value = ctx.value }
end

function _M.from_der(value, id, critical)
  local dotted = objects.id_of(id)
  if not dotted then
    return nil, "x509.extension.from_der: objects.txtnid2nid: invalid NID text " .. tostring(id)
  elseif type(value) ~= "string" then
    return nil, "x509.extension.from_der: expect string at #1"
  end
  return _M.wrap { id = dotted, critical = not not critical, value = value }
end

-- What may be given as text, as in openssl.cnf: `CA:TRUE, pathlen:0`, `DNS:a.test`,
-- `digitalSignature`.
local usages = {
  "digitalSignature", "nonRepudiation", "keyEncipherment", "dataEncipherment", "keyAgreement",
  "keyCertSign", "cRLSign", "encipherOnly", "decipherOnly",
}

local function words(text)
  local found, critical = {}, false
  for word in text:gmatch "[^,]+" do
    word = word:match "^%s*(.-)%s*$"
    if word == "critical" then
      critical = true
    else
      found[#found + 1] = word
    end
  end
  return found, critical
end

local builders = {}

builders["2.5.29.19"] = function(list)
  local body = ""
  for _, word in ipairs(list) do
    local name, value = word:match "^(%a+):(.+)$"
    if name == "CA" and value:lower() == "true" then
      body = der.write(der.BOOLEAN, "\255") .. body
    elseif name == "pathlen" and tonumber(value) then
      body = body .. der.integer(string.char(tonumber(value)))
    elseif name ~= "CA" then
      return nil
    end
  end
  return der.sequence(body)
end

builders["2.5.29.15"] = function(list)
  local high, low, last = 0, 0, -1
  for _, word in ipairs(list) do
    for i, usage in ipairs(usages) do
      if usage == word then
        last = math.max(last, i - 1)
        if i <= 8 then
          high = bit.bor(high, bit.rshift(0x80, i - 1))
        else
          low = 0x80
        end
      end
    end
  end
  if last < 0 then
    return nil
  end
  local bytes = last < 8 and string.char(7 - last, high) or string.char(7, high, low)
  return der.write(der.BIT_STRING, bytes)
end

builders["2.5.29.37"] = function(list)
  local body = ""
  for _, word in ipairs(list) do
    local id = objects.id_of(word)
    if not id then
      return nil
    end
    body = body .. der.write(der.OID, der.oid(id))
  end
  return der.sequence(body)
end

builders["2.5.29.17"] = function(list)
  local names = require("resty.openssl.x509.altname").new()
  for _, word in ipairs(list) do
    local kind, value = word:match "^(%a+):(.+)$"
    if not kind or not names:add(kind, value) then
      return nil
    end
  end
  return names:to_der()
end

function _M.new(id, value)
  local dotted = objects.id_of(id)
  if not dotted then
    return nil, "x509.extension.new: objects.txtnid2nid: invalid NID text " .. tostring(id)
  elseif type(value) ~= "string" then
    return nil, "x509.extension.new: expect string at #2"
  end
  local list, critical = words(value)
  local bytes = builders[dotted] and builders[dotted](list)
  if not bytes then
    return nil, "x509.extension.new failed"
  end
  return _M.wrap { id = dotted, critical = critical, value = bytes }
end

function _M:get_object()
  return objects.obj2table(der.oid(self.ctx.id))
end

function _M:get_critical()
  return self.ctx.critical
end

function _M:set_critical(critical)
  self.ctx.critical = not not critical
  return true
end

function _M:to_der()
  return self.ctx.value
end

function _M.to_data(extension, nid)
  if not _M.istype(extension) then
    return nil, "x509.extension.dup: expect a x509.extension ctx at #1"
  elseif extension.ctx.id == "2.5.29.17" then
    return require("resty.openssl.x509.altname").from_der(extension.ctx.value)
  end
  return nil, ("x509.extension:to_data: don't know how to convert to NID %s"):format(tostring(nid))
end

local function hex(bytes)
  return (bytes:gsub(".", function(byte) return ("%02X:"):format(byte:byte()) end):sub(1, -2))
end

local usage_texts = {
  "Digital Signature", "Non Repudiation", "Key Encipherment", "Data Encipherment",
  "Key Agreement", "Certificate Sign", "CRL Sign", "Encipher Only", "Decipher Only",
}

local texts = {}

texts["2.5.29.14"] = function(value)
  return hex(der.take(value, 1, der.OCTET_STRING) or "")
end

texts["2.5.29.15"] = function(value)
  local bits = (der.take(value, 1, der.BIT_STRING) or ""):sub(2)
  local found = {}
  for i, text in ipairs(usage_texts) do
    local byte = bits:byte(math.floor((i - 1) / 8) + 1) or 0
    if bit.band(byte, bit.rshift(0x80, (i - 1) % 8)) ~= 0 then
      found[#found + 1] = text
    end
  end
  return table.concat(found, ", ")
end

texts["2.5.29.17"] = function(value)
  local found = {}
  for kind, text in require("resty.openssl.x509.altname").from_der(value):each() do
    found[#found + 1] = (kind == "IP" and "IP Address" or kind) .. ":" .. tostring(text)
  end
  return table.concat(found, ", ")
end

texts["2.5.29.19"] = function(value)
  local parts = der.all(der.take(value, 1, der.SEQUENCE) or "") or {}
  local text = "CA:FALSE"
  for _, part in ipairs(parts) do
    if part.tag == der.BOOLEAN and part.content ~= "\0" then
      text = "CA:TRUE"
    elseif part.tag == der.INTEGER then
      text = text .. ", pathlen:" .. (part.content:byte(-1) or 0)
    end
  end
  return text
end

texts["2.5.29.35"] = function(value)
  for _, part in ipairs(der.all(der.take(value, 1, der.SEQUENCE) or "") or {}) do
    if part.tag == 0x80 then
      return hex(part.content)
    end
  end
  return ""
end

texts["2.5.29.37"] = function(value)
  local found = {}
  for _, part in ipairs(der.all(der.take(value, 1, der.SEQUENCE) or "") or {}) do
    local entry = objects.obj2table(part.content)
    found[#found + 1] = entry.nid ~= 0 and entry.ln or entry.id
  end
  return table.concat(found, ", ")
end

function _M:text()
  local describe = texts[self.ctx.id]
  return describe and describe(self.ctx.value) or self.ctx.value
end
_M.tostring = _M.text

mt.__tostring = function(self)
  return self:text()
end

return _M
