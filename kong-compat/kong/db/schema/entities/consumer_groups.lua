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
    -- Any text: dumps of Kong Enterprise have groups with blanks in their names.
    { name = { type = "string", required = true, unique = true } },
    { tags = typedefs.tags },
  },
}
