-- A user name and the secret that signs its requests (plugin hmac-auth).

local credential = require "kong.db.schema.credential"

return credential("hmacauth_credentials", {
  { username = { type = "string", required = true, unique = true } },
  { secret = { type = "string", auto = true, encrypted = true } },
}, { endpoint_key = "username", cache_key = { "username" } })
