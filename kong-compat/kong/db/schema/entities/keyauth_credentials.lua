-- A key of a Consumer (plugin key-auth). A key that is left out is made up.

local credential = require "kong.db.schema.credential"

return credential("keyauth_credentials", {
  { key = { type = "string", required = false, unique = true, auto = true, encrypted = true } },
}, { ttl = true, endpoint_key = "key", cache_key = { "key" } })
