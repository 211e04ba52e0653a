-- A Certificate and its key, and another pair of a different kind of key.

local typedefs = require "kong.db.schema.typedefs"
local host = require "silverback.host"

-- A reference or null is no PEM text yet.
local function differ(cert, key)
  return type(cert) == "string" and type(key) == "string" and host.key_differs(cert, key)
end

return {
  name = "certificates",
  primary_key = { "id" },

  fields = {
    { id = typedefs.uuid },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
    { cert = typedefs.certificate { required = true, referenceable = true } },
    { key = typedefs.key { required = true, referenceable = true, encrypted = true } },
    { cert_alt = typedefs.certificate { required = false, referenceable = true } },
    { key_alt = typedefs.key { required = false, referenceable = true, encrypted = true } },
    { tags = typedefs.tags },
    { snis = {
      type = "array",
      required = false,
      transient = true,
      elements = typedefs.wildcard_host,
    } },
  },

  entity_checks = {
    { mutually_required = { "cert_alt", "key_alt" } },
    { custom_entity_check = {
      field_sources = { "cert", "key" },
      fn = function(entity)
        local ok = not differ(entity.cert, entity.key)
        return ok, "certificate does not match key"
      end,
    } },
    { custom_entity_check = {
      field_sources = { "cert_alt", "key_alt" },
      fn = function(entity)
        local ok = not differ(entity.cert_alt, entity.key_alt)
        return ok, "alternative certificate does not match key"
      end,
    } },
    { custom_entity_check = {
      field_sources = { "cert", "cert_alt" },
      fn = function(entity)
        local given = type(entity.cert) == "string" and type(entity.cert_alt) == "string"
        local ok = not (given and host.same_key_type(entity.cert, entity.cert_alt))
        return ok, "certificate and alternative certificate need to have different type "
          .. "(e.g. RSA and ECDSA), the provided certificates were both of the same type"
      end,
    } },
  },
}
