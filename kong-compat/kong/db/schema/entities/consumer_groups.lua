-- A Consumer Group: consumers that share plugins.

local typedefs = require "kong.db.schema.typedefs"

return {
  name = "consumer_groups",
  primary_key = { "id" },
  endpoint_key = "name",

  fields = {
    { id = typedefs.uuid },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
    { name = typedefs.utf8_name { required = true } },
    { tags = typedefs.tags },
  },
}
