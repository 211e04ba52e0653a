-- A group that a Consumer is in (plugin acl).

local credential = require "kong.db.schema.credential"

return credential("acls", {
  { group = { type = "string", required = true } },
}, { cache_key = { "consumer", "group" } })
