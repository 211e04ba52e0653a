-- A Key: a JSON Web Key, or a pair in PEM.

local typedefs = require "kong.db.schema.typedefs"
local host = require "silverback.host"

local formats = { "jwk", "pem" }

return {
  name = "keys",
  primary_key = { "id" },
  cache_key = { "kid", "set" },
  endpoint_key = "name",

  fields = {
    { id = typedefs.uuid },
    { set = { type = "foreign", reference = "key_sets", on_delete = "cascade" } },
    { name = { type = "string", unique = true } },
    { kid = { type = "string", required = true,
      description = "What tokens call the key; a JSON Web Key must say the same." } },
    { jwk = { type = "string", referenceable = true, encrypted = true,
      description = "A JSON Web Key, as a text." } },
    { pem = typedefs.pem },
    { tags = typedefs.tags },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
  },

  entity_checks = {
    { mutually_exclusive = formats },
    { at_least_one_of = formats },
    { custom_entity_check = {
      field_sources = { "jwk", "pem", "kid" },
      fn = function(entity)
        local err = type(entity.jwk) == "string" and host.jwk_error(entity.jwk, entity.kid)
        return not err, err or nil
      end,
    } },
  },
}
