-- What a Consumer's JSON Web Tokens are verified with (plugin jwt).

local credential = require "kong.db.schema.credential"
local host = require "silverback.host"

local function validate_key(pem)
  local ok = not host.public_key_error(pem) or not host.key_error(pem)
  return ok, "invalid key"
end

return credential("jwt_secrets", {
  { key = { type = "string", required = false, unique = true, auto = true } },
  { secret = { type = "string", auto = true, encrypted = true } },
  { rsa_public_key = { type = "string" } },
  { algorithm = { type = "string", default = "HS256", one_of = {
    "HS256", "HS384", "HS512",
    "RS256", "RS384", "RS512",
    "ES256", "ES384", "ES512",
    "PS256", "PS384", "PS512",
    "EdDSA",
  } } },
}, {
  endpoint_key = "key",
  cache_key = { "key" },
  entity_checks = {
    { conditional = {
      if_field = "algorithm", if_match = { match_any = { patterns = { "^RS", "^PS", "^EdDSA$" } } },
      then_field = "rsa_public_key",
      then_match = { required = true, custom_validator = validate_key },
    } },
  },
})
