-- A Plugin: one configured plugin and the scope it applies to.
--
-- `config` is abstract: what it must be is in the plugin's own schema.

local typedefs = require "kong.db.schema.typedefs"

local function scope(collection)
  return { type = "foreign", reference = collection, default = ngx.null, on_delete = "cascade" }
end

return {
  name = "plugins",
  primary_key = { "id" },
  cache_key = { "name", "route", "service", "consumer" },
  endpoint_key = "instance_name",

  fields = {
    { id = typedefs.uuid },
    { name = { type = "string", required = true } },
    { instance_name = typedefs.utf8_name },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
    { route = scope "routes" },
    { service = scope "services" },
    { consumer = scope "consumers" },
    { consumer_group = scope "consumer_groups" },
    { config = { type = "record", abstract = true, fields = {} } },
    { protocols = typedefs.protocols },
    { enabled = { type = "boolean", required = true, default = true } },
    { tags = typedefs.tags },
  },
}
