-- `bp`: entities with values that are good enough, where a spec does not say.

local conf = require "spec.internal.conf"

local blueprint = {}
blueprint.__index = blueprint

-- What a spec says over what is filled in; tables are merged.
local function over(base, given)
  for name, value in pairs(given) do
    if type(value) == "table" and type(base[name]) == "table" and name ~= "service"
        and #value == 0 and next(value) ~= nil and #base[name] == 0 then
      base[name] = over(base[name], value)
    else
      base[name] = value
    end
  end
  return base
end

function blueprint:build(given)
  local own = {}
  for name, value in pairs(given or {}) do
    own[name] = value
  end
  local base = self.fill(own)
  return over(base, own)
end

local function checked(result, err)
  if err then
    error(err, 3)
  end
  return result
end

function blueprint:insert(given, options)
  return checked(self.dao:insert(self:build(given), options))
end

function blueprint:insert_ws(given)
  return checked(self.dao:insert(self:build(given)))
end

function blueprint:insert_n(count, given, options)
  local made = {}
  for i = 1, count do
    made[i] = self:insert(given, options)
  end
  return made
end

function blueprint:update(key, values)
  return checked(self.dao:update(key, values))
end

function blueprint:remove(entity)
  return checked(self.dao:remove({ id = entity.id }))
end

function blueprint:truncate()
  return self.dao:truncate()
end

local function numbered(text)
  local count = 0
  return function()
    count = count + 1
    return text:format(count)
  end
end

local function nothing()
  return {}
end

-- The certificate of listeners and upstreams of specs: made anew, for nobody to depend on.
local function pair(name)
  local ok, ssl = pcall(require, "spec.fixtures.ssl")
  if ok then
    return name == "ca" and { cert = ssl.cert_ca } or { cert = ssl.cert, key = ssl.key }
  end
  return {}
end

local function of_plugin(name, config)
  return function()
    local copy = {}
    for key, value in pairs(config or {}) do
      copy[key] = value
    end
    return { name = name, config = copy }
  end
end

local function fills(bp)
  local next_host = numbered("service-host-%d.test")
  local next_route_host = numbered("route-host-%d.test")
  local next_service, next_route = numbered("service-name-%d"), numbered("route-name-%d")
  local next_custom, next_username = numbered("consumer-id-%d"), numbered("consumer-username-%d")
  local function one(field, text, more)
    local value = numbered(text)
    return function()
      local made = { [field] = value() }
      return over(made, more or {})
    end
  end
  local function service(extra)
    return over({ protocol = "http", host = "127.0.0.1", port = conf.mock_port("http") }, extra)
  end
  local next_upstream, next_sni = numbered("upstream-%d"), numbered("server-name-%d")
  return {
    services = function() return service {} end,
    named_services = function() return service { name = next_service(), host = next_host() } end,
    routes = function(given)
      if given.no_service then
        given.no_service = nil
        return {}
      end
      return { service = given.service or bp.services:insert() }
    end,
    named_routes = function(given)
      return { name = next_route(), hosts = { next_route_host() },
        service = given.service or bp.services:insert() }
    end,
    consumers = function()
      return { custom_id = next_custom(), username = next_username() }
    end,
    upstreams = function(given)
      return { name = given.name or next_upstream(), slots = given.slots or 100 }
    end,
    targets = function(given)
      return { weight = 10, upstream = given.upstream or bp.upstreams:insert(),
        target = given.target or "127.0.0.1:" .. conf.mock_port("http") }
    end,
    certificates = function() return pair("server") end,
    ca_certificates = function() return pair("ca") end,
    snis = function(given)
      return { name = given.name or next_sni(),
        certificate = given.certificate or bp.certificates:insert() }
    end,
    acls = one("group", "acl-group-%d"),
    keyauth_credentials = one("key", "keyauth-key-%d"),
    jwt_secrets = one("key", "jwt-key-%d", { secret = "secret" }),
    hmacauth_credentials = one("username", "hmac-username-%d", { secret = "secret" }),
    oauth2_credentials = function()
      return { name = "oauth2 credential", client_secret = "secret" }
    end,
    key_sets = one("name", "key-sets-%d"),
    keys = one("name", "keys-%d"),
    consumer_groups = one("name", "consumer-group-%d"),
    workspaces = one("name", "workspace-name-%d"),
  }
end

-- Shorthands for plugins: their name, the collection they stand for, and a config.
local PLUGINS = {
  acl_plugins = { "acl" }, jwt_plugins = { "jwt" }, key_auth_plugins = { "key-auth" },
  hmac_auth_plugins = { "hmac-auth" }, rate_limiting_plugins = { "rate-limiting" },
  response_ratelimiting_plugins = { "response-ratelimiting" }, datadog_plugins = { "datadog" },
  statsd_plugins = { "statsd" }, loggly_plugins = { "loggly" }, rewriter_plugins = { "rewriter" },
  tcp_log_plugins = { "tcp-log", { host = "127.0.0.1", port = 35001 } },
  udp_log_plugins = { "udp-log", { host = "127.0.0.1", port = 35001 } },
  cors_plugins = { "cors", { origins = { "example.com" }, methods = { "GET" }, max_age = 23,
    headers = { "origin", "type", "accepts" }, exposed_headers = { "x-auth-token" },
    credentials = true } },
  oauth2_plugins = { "oauth2", { scopes = { "email", "profile" }, mandatory_scope = true,
    enable_authorization_code = true, provision_key = "provision123", token_expiration = 5,
    enable_implicit_grant = true } },
}

local NAMED = { named_services = "services", named_routes = "routes" }

return function(db)
  local bp = {}
  local fill = fills(bp)
  local function made(name)
    local short = PLUGINS[name]
    local dao = db[short and "plugins" or NAMED[name] or name]
    if dao then
      local filled = short and of_plugin(short[1], short[2]) or fill[name] or nothing
      return setmetatable({ dao = dao, fill = filled }, blueprint)
    end
  end
  -- What was collected stays for the next start.
  function bp.done()
    return require("spec.internal.db").export()
  end
  function bp.reset_back() end
  return setmetatable(bp, { __index = function(self, name)
    local blue = made(name)
    rawset(self, name, blue)
    return blue
  end })
end
