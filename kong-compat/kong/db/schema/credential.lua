-- What the credentials of all authentication plugins have in common.

local typedefs = require "kong.db.schema.typedefs"

-- A collection of credentials with these fields beside the common ones.
return function(name, fields, rest)
  local schema = rest or {}
  schema.name = name
  schema.primary_key = { "id" }
  schema.fields = {
    { id = typedefs.uuid },
    { created_at = typedefs.auto_timestamp_s },
    { consumer = {
      type = "foreign",
      reference = "consumers",
      required = true,
      on_delete = "cascade",
    } },
  }
  for _, field in ipairs(fields) do
    table.insert(schema.fields, field)
  end
  table.insert(schema.fields, { tags = typedefs.tags })
  return schema
end
