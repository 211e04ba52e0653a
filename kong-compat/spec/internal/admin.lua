-- Stands in for the Admin API in specs: what is written to it is collected like what `bp` inserts,
-- and gateways that run load it at once. What only a real Admin API has ends a case as pending.

local cjson = require "cjson.safe"
local DB = require "spec.internal.db"
local gateway = require "spec.internal.gateway"

local admin = {}

-- Collections by their place in a path, and what names their entities beside the id.
local COLLECTIONS = {
  services = "services", routes = "routes", consumers = "consumers", plugins = "plugins",
  upstreams = "upstreams", targets = "targets", certificates = "certificates", snis = "snis",
  ca_certificates = "ca_certificates", consumer_groups = "consumer_groups", vaults = "vaults",
  keys = "keys", ["key-sets"] = "key_sets", acls = "acls",
  ["key-auth"] = "keyauth_credentials", ["key-auths"] = "keyauth_credentials",
  ["basic-auth"] = "basicauth_credentials", ["basic-auths"] = "basicauth_credentials",
  ["hmac-auth"] = "hmacauth_credentials", ["hmac-auths"] = "hmacauth_credentials",
  jwt = "jwt_secrets", jwts = "jwt_secrets", oauth2 = "oauth2_credentials",
}
local KEYS = { consumers = "username", keyauth_credentials = "key", jwt_secrets = "key",
  basicauth_credentials = "username", hmacauth_credentials = "username", acls = "group",
  oauth2_credentials = "client_id", upstreams = "name", targets = "target" }
local NAMES = { "name", "username", "key", "group", "client_id", "prefix", "target", "custom_id" }

-- The field that names the entity above.
local ABOVE = {
  services = "service", routes = "route", consumers = "consumer", upstreams = "upstream",
  certificates = "certificate", key_sets = "set", consumer_groups = "consumer_group",
}

local function pending(what)
  error(require("busted").pending_error("there is no Admin API here: " .. what))
end

local function answer(status, body)
  local text = body and cjson.encode(body) or ""
  return {
    status = status, has_body = body ~= nil,
    headers = { ["Content-Type"] = "application/json; charset=utf-8",
      ["Content-Length"] = #text },
    read_body = function() return text end,
  }
end

local function not_found()
  return answer(404, { message = "Not found" })
end

local function is_below(row, above)
  local link = above and row[above.field]
  return not above or type(link) == "table" and link.id == above.id
end

-- The entity of an id or a name, below another if that is given.
local function entity_of(dao, id, above)
  local found = dao:select { id = id }
  if found then
    return is_below(found, above) and found or nil
  end
  for row in dao:each() do
    for _, name in ipairs(NAMES) do
      if row[name] == id and is_below(row, above) then
        return row
      end
    end
  end
end

-- Forms name what lies deeper with dots, and have texts for everything.
local function from_form(fields)
  local made = {}
  for key, value in pairs(fields) do
    if value == "true" or value == "false" then
      value = value == "true"
    elseif type(value) == "string" then
      value = tonumber(value) or value
    end
    local at, path = made, {}
    for part in tostring(key):gsub("%[%d*%]$", ""):gmatch("[^.]+") do
      path[#path + 1] = part
    end
    for i = 1, #path - 1 do
      at[path[i]] = at[path[i]] or {}
      at = at[path[i]]
    end
    at[path[#path]] = value
  end
  return made
end

local function body_of(options)
  local kind = require("spec.internal.client").lookup(options.headers or {}, "Content-Type") or ""
  local body = options.body
  if type(body) == "string" and kind:find("json", 1, true) then
    return cjson.decode(body)
  elseif type(body) == "string" then
    body = ngx.decode_args(body, 0)
  end
  return kind:find("json", 1, true) and body or from_form(body or {})
end

-- `/cache/collection:name:...`. Gateways keep nothing of a configuration that is gone, so what is
-- in their cache is what is there.
local function cached(key)
  local name, id = key:match("^([%w_]+):([^:]+):")
  local dao = name and DB.db[name]
  local found = dao and entity_of(dao, id)
  for row in (dao and dao:each() or function() end) do
    for _, link in pairs(row) do
      found = found or type(link) == "table" and link.id == id and row or nil
    end
  end
  return found and answer(200, found) or not_found()
end

-- Loads what was written; what a gateway refuses is undone.
local function in_force(before)
  for prefix, one in pairs(gateway.running) do
    if one.env.declarative_config or one.env.declarative_config_string then
      pending("this gateway has a configuration of its own")
    end
    local ok, said = gateway.reload_kong(nil, nil, prefix)
    if not ok then
      DB.restore(before)
      return answer(400, { message = said, name = "schema violation", code = 2 })
    end
  end
end

local function written(status, call, ...)
  local before = DB.kept()
  local row, err, err_t = call(...)
  if err then
    local told = { code = err_t and err_t.code, name = err_t and err_t.name,
      fields = err_t and err_t.fields, message = err_t and err_t.message or err }
    return answer(told.code == 3 and 404 or 400, told)
  end
  return in_force(before) or answer(status, status ~= 204 and row or nil)
end

local function list(dao, above)
  local rows = setmetatable({}, require("cjson").array_mt)
  for row in dao:each() do
    if is_below(row, above) then
      rows[#rows + 1] = row
    end
  end
  return answer(200, { data = rows, next = cjson.null })
end

local function one(method, name, dao, id, above, body)
  local row = entity_of(dao, id, above)
  if method == "PUT" then
    if above then
      body[above.field] = { id = above.id }
    end
    local is_id = id:find("^%x+%-%x+%-%x+%-%x+%-%x+$")
    if not row and not is_id then
      body[KEYS[name] or "name"] = id
      return written(200, dao.insert, dao, body)
    end
    return written(200, dao.upsert, dao, { id = row and row.id or id }, body)
  elseif method == "DELETE" then
    if row then
      return written(204, DB.delete, name, row.id)
    end
    return above and not_found() or answer(204)
  elseif not row then
    return not_found()
  elseif method == "PATCH" then
    return written(200, dao.update, dao, { id = row.id }, body)
  end
  return answer(200, row)
end

-- Answers a request: `/collection[/entity[/collection[/entity]]]`.
function admin.send(options)
  local method = (options.method or "GET"):upper()
  local path, parts = options.path:gsub("%?.*", ""), {}
  for part in path:gmatch("[^/]+") do
    parts[#parts + 1] = ngx.unescape_uri(part)
  end
  if parts[1] == "cache" and parts[2] then
    return method == "GET" and cached(table.concat(parts, "/", 2)) or answer(204)
  end
  local name, above = COLLECTIONS[parts[1] or ""], nil
  if parts[3] then
    local field = ABOVE[name or ""]
    local parent = field and entity_of(DB.db[name], parts[2])
    name = field and COLLECTIONS[parts[3]]
    if name and not parent then
      return not_found()
    end
    above = parent and { field = field, id = parent.id }
    table.remove(parts, 1)
    table.remove(parts, 1)
  end
  local dao = name and DB.db[name]
  if not dao or #parts > 2 then
    pending(method .. " " .. options.path)
  end
  local body = method ~= "GET" and method ~= "DELETE" and body_of(options) or {}
  if parts[2] then
    return one(method, name, dao, parts[2], above, body)
  elseif method == "GET" then
    return list(dao, above)
  elseif method ~= "POST" then
    return answer(405, { message = "Method not allowed" })
  end
  if above then
    body[above.field] = { id = above.id }
  end
  return written(201, dao.insert, dao, body)
end

-- What `helpers.admin_client()` gives.
function admin.client()
  local client = { close = function() return true end, set_timeout = function() end,
    set_keepalive = function() return true end }
  function client:send(options)
    return admin.send(options)
  end
  client.request = client.send
  for _, verb in ipairs { "get", "post", "put", "patch", "delete" } do
    client[verb] = function(_, path, given)
      local options = { method = verb:upper(), path = path }
      for key, value in pairs(given or {}) do
        options[key] = value
      end
      return admin.send(options)
    end
  end
  return setmetatable(client, { __index = function(_, name)
    return function() pending("admin_client():" .. tostring(name) .. "()") end
  end })
end

return admin
