-- A CA certificate, to verify upstreams with.

local typedefs = require "kong.db.schema.typedefs"
local host = require "silverback.host"

local BEGIN = "-----BEGIN CERTIFICATE-----"

return {
  name = "ca_certificates",
  primary_key = { "id" },

  fields = {
    { id = typedefs.uuid },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
    { cert = typedefs.certificate { required = true } },
    { cert_digest = { type = "string", unique = true } },
    { tags = typedefs.tags },
  },

  entity_checks = {
    { custom_entity_check = {
      field_sources = { "cert" },
      fn = function(entity)
        local _, first = entity.cert:find(BEGIN, 1, true)
        if first and entity.cert:find(BEGIN, first + 1, true) then
          return nil, "please submit only one certificate at a time"
        end
        local err = host.ca_error(entity.cert)
        return not err, err
      end,
    } },
  },
}
