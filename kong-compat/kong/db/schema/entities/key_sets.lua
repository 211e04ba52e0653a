-- A Key Set: keys that belong together.

local typedefs = require "kong.db.schema.typedefs"

return {
  name = "key_sets",
  primary_key = { "id" },
  endpoint_key = "name",

  fields = {
    { id = typedefs.uuid },
    { name = { type = "string", unique = true } },
    { tags = typedefs.tags },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
  },
}
