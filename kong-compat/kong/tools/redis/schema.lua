-- The connection to a Redis server, as plugins with a `redis` policy take it.

local typedefs = require "kong.db.schema.typedefs"

local M = {}

M.config_schema = {
  type = "record",
  description = "How to reach the Redis server.",
  fields = {
    { host = typedefs.host },
    { port = typedefs.port { default = 6379 } },
    { timeout = typedefs.timeout { default = 2000 } },
    { username = { type = "string", referenceable = true } },
    { password = { type = "string", referenceable = true, encrypted = true, len_min = 0 } },
    { database = { type = "integer", default = 0 } },
    { ssl = { type = "boolean", required = false, default = false } },
    { ssl_verify = { type = "boolean", required = false, default = false } },
    { server_name = typedefs.sni { required = false } },
  },
}

-- The same with Sentinel and Cluster, as plugins of Kong Enterprise take it.
local function node(host)
  local fields = { { [host] = typedefs.host { default = "127.0.0.1" } } }
  fields[2] = { port = typedefs.port { default = 6379 } }
  return { type = "array", len_min = 1, elements = { type = "record", fields = fields } }
end

local secret = { type = "string", referenceable = true, encrypted = true, len_min = 0 }

M.enterprise_schema = {
  type = "record",
  description = "How to reach the Redis server, its sentinels, or its cluster.",
  fields = {
    { host = typedefs.host { default = "127.0.0.1" } },
    { port = typedefs.port { default = 6379 } },
    { connect_timeout = typedefs.timeout { default = 2000 } },
    { send_timeout = typedefs.timeout { default = 2000 } },
    { read_timeout = typedefs.timeout { default = 2000 } },
    { username = { type = "string", referenceable = true } },
    { password = secret },
    { sentinel_username = { type = "string", referenceable = true } },
    { sentinel_password = secret },
    { database = { type = "integer", default = 0 } },
    { keepalive_pool_size = { type = "integer", default = 256, between = { 1, 2147483646 } } },
    { keepalive_backlog = { type = "integer", between = { 0, 2147483646 } } },
    { sentinel_master = { type = "string" } },
    { sentinel_role = { type = "string", one_of = { "master", "slave", "any" } } },
    { sentinel_nodes = node "host" },
    { cluster_nodes = node "ip" },
    { cluster_max_redirections = { type = "integer", default = 5 } },
    { ssl = { type = "boolean", required = false, default = false } },
    { ssl_verify = { type = "boolean", required = false, default = false } },
    { server_name = typedefs.sni { required = false } },
    { connection_is_proxied = { type = "boolean", required = false, default = false } },
  },
}

local types = {
  { "host", "string" },
  { "port", "integer" },
  { "password", "string" },
  { "username", "string" },
  { "ssl", "boolean" },
  { "ssl_verify", "boolean" },
  { "server_name", "string" },
  { "timeout", "integer" },
  { "database", "integer" },
}

-- The names that these fields had before they were a record: `redis_host` is `redis.host`.
function M.flat_fields(plugin)
  local message = "%s: config.redis_%s is deprecated, please use config.redis.%s instead"
  local fields = {}
  for _, field in ipairs(types) do
    local name, kind = field[1], field[2]
    fields[#fields + 1] = { ["redis_" .. name] = {
      type = kind,
      len_min = name == "password" and 0 or nil,
      deprecation = {
        replaced_with = { { path = { "redis", name } } },
        message = message:format(plugin, name, name),
        removal_in_version = "4.0",
      },
      func = function(value)
        return { redis = { [name] = value } }
      end,
    } }
  end
  return fields
end

-- What the policy `redis` cannot do without.
function M.required_checks()
  local checks = {}
  for _, name in ipairs { "host", "port", "timeout" } do
    checks[#checks + 1] = { conditional = {
      if_field = "config.policy",
      if_match = { eq = "redis" },
      then_field = "config.redis." .. name,
      then_match = { required = true },
    } }
  end
  return checks
end

return M
