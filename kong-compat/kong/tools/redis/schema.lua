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
