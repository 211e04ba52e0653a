-- A user name and password of a Consumer (plugin basic-auth).

local credential = require "kong.db.schema.credential"

return credential("basicauth_credentials", {
  { username = { type = "string", required = true, unique = true } },
  { password = { type = "string", required = true, encrypted = true } },
}, { endpoint_key = "username", cache_key = { "username" } })
