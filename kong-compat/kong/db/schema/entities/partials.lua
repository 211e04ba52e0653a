-- A Partial: a piece of configuration that several plugins share.

local typedefs = require "kong.db.schema.typedefs"
local redis = require "kong.tools.redis.schema"

local function of(config)
  return { fields = { { config = config } } }
end

return {
  name = "partials",
  primary_key = { "id" },
  endpoint_key = "name",

  -- What `config` must be depends on the type.
  subschema_key = "type",
  subschema_error = "partials of the type '%s' are not built (there are redis-ce, redis-ee)",
  subschemas = {
    ["redis-ce"] = of(redis.config_schema),
    ["redis-ee"] = of(redis.enterprise_schema),
  },

  fields = {
    { id = typedefs.uuid },
    { name = typedefs.utf8_name },
    { type = { type = "string", required = true } },
    { config = { type = "record", abstract = true } },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
    { tags = typedefs.tags },
  },
}
