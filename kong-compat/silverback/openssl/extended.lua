-- What certificates and requests share: their extensions, by name and one by one.
--
-- An object of theirs has the list `extensions` in its `ctx`, and `name` begins its errors.

local der = require "silverback.openssl.der"
local extension_lib = require "resty.openssl.x509.extension"
local objects = require "resty.openssl.objects"

local SAN, ISSUER_ALT, BASIC = "2.5.29.17", "2.5.29.18", "2.5.29.19"
local INFO_ACCESS, CRL_POINTS = "1.3.6.1.5.5.7.1.1", "2.5.29.31"

local function find(list, id, last)
  for i = (last or 0) + 1, #list do
    if list[i].id == id then
      return list[i], i
    end
  end
end

local function put(list, entry)
  local _, at = find(list, entry.id)
  list[at or #list + 1] = entry
end

local function dotted(name, method, id)
  local found = objects.id_of(id)
  if not found then
    local text = "%s:%s: objects.txtnid2nid: invalid NID text %s"
    return nil, text:format(name, method, tostring(id))
  end
  return found
end

local function add_single(_M, name)
  function _M:get_extension(id, last)
    local found, err = dotted(name, "get_extension", id)
    if not found then
      return nil, nil, err
    end
    local entry, at = find(self.ctx.extensions, found, last)
    if entry then
      return extension_lib.dup(entry), at
    end
  end

  function _M:add_extension(extension)
    if not extension_lib.istype(extension) then
      return false, name .. ":add_extension: expect a x509.extension instance at #1"
    end
    table.insert(self.ctx.extensions, extension_lib.dup(extension.ctx).ctx)
    return true
  end

  function _M:set_extension(extension)
    if not extension_lib.istype(extension) then
      return false, name .. ":set_extension: expect a x509.extension instance at #1"
    end
    put(self.ctx.extensions, extension_lib.dup(extension.ctx).ctx)
    return true
  end

  function _M:get_extension_critical(id, last)
    local found, err = dotted(name, "get_extension_critical", id)
    if not found then
      return nil, err
    end
    local entry = find(self.ctx.extensions, found, last)
    return entry ~= nil and entry.critical
  end

  function _M:set_extension_critical(id, critical, last)
    local found, err = dotted(name, "set_extension_critical", id)
    if not found then
      return nil, err
    end
    local entry = find(self.ctx.extensions, found, last)
    if not entry then
      return false, name .. ":set_extension_critical failed"
    end
    entry.critical = not not critical
    return true
  end
end

local function add_critical(_M, method, id)
  _M["get_" .. method .. "_critical"] = function(self)
    return self:get_extension_critical(id)
  end
  _M["set_" .. method .. "_critical"] = function(self, critical)
    return self:set_extension_critical(id, critical)
  end
end

local function add_names(_M, name, method, id)
  _M["get_" .. method] = function(self)
    local entry = find(self.ctx.extensions, id)
    return entry and require("resty.openssl.x509.altname").from_der(entry.value)
  end
  _M["set_" .. method] = function(self, names)
    if not require("resty.openssl.x509.altname").istype(names) then
      return false, ("%s:set_%s: expect a x509.altname instance at #1"):format(name, method)
    end
    put(self.ctx.extensions, { id = id, critical = false, value = names:to_der() })
    return true
  end
  add_critical(_M, method, id)
end

local function add_constraints(_M, name)
  function _M:get_basic_constraints(which)
    local entry = find(self.ctx.extensions, BASIC)
    if not entry then
      return nil
    end
    local found = { ca = false, pathlen = 0 }
    for _, part in ipairs(der.all(der.take(entry.value, 1, der.SEQUENCE) or "") or {}) do
      if part.tag == der.BOOLEAN then
        found.ca = part.content ~= "\0"
      elseif part.tag == der.INTEGER then
        found.pathlen = part.content:byte(-1) or 0
        found.bounded = true
      end
    end
    local bounded = found.bounded
    found.bounded = nil
    if type(which) ~= "string" then
      return found, bounded
    end
    return found[which:lower()]
  end

  function _M:set_basic_constraints(constraints)
    if type(constraints) ~= "table" then
      return false, name .. ":set_basic_constraints: expect a table at #1"
    end
    local lower = {}
    for key, value in pairs(constraints) do
      lower[key:lower()] = value
    end
    local path = tonumber(lower.pathlen)
    local value = der.sequence(lower.ca and der.write(der.BOOLEAN, "\255") or "",
      path and der.integer(string.char(path)) or "")
    put(self.ctx.extensions, { id = BASIC, critical = false, value = value })
    return true
  end
  add_critical(_M, "basic_constraints", BASIC)
end

-- The addresses of the names below a DER value, whatever is around them.
local function uris(bytes, found)
  for _, part in ipairs(der.all(bytes) or {}) do
    if part.tag == 0x86 then
      found[#found + 1] = part.content
    elseif part.tag >= 0xa0 or part.tag == der.SEQUENCE then
      uris(part.content, found)
    end
  end
  return found
end

local function add_addresses(_M)
  function _M:get_ocsp_url(all)
    local entry = find(self.ctx.extensions, INFO_ACCESS)
    local found = {}
    for _, part in ipairs(entry and der.all(der.take(entry.value, 1, der.SEQUENCE) or "") or {}) do
      local id, after = der.take(part.content, 1, der.OID)
      if id and der.oid_text(id) == "1.3.6.1.5.5.7.48.1" then
        uris(part.content:sub(after), found)
      end
    end
    if #found > 0 then
      return all and found or found[1]
    end
  end

  function _M:get_crl_url(all)
    local entry = find(self.ctx.extensions, CRL_POINTS)
    local found = entry and uris(entry.value, {}) or {}
    if #found > 0 then
      return all and found or found[1]
    end
  end
end

return function(_M, name)
  add_single(_M, name)
  add_names(_M, name, "subject_alt_name", SAN)
  add_names(_M, name, "issuer_alt_name", ISSUER_ALT)
  add_constraints(_M, name)
  add_addresses(_M)
end
