-- A client certificate's subject that a Consumer is known by (plugin mtls-auth).

local credential = require "kong.db.schema.credential"

return credential("mtls_auth_credentials", {
  { subject_name = { type = "string", required = true } },
  { ca_certificate = { type = "foreign", reference = "ca_certificates" } },
}, { cache_key = { "subject_name", "ca_certificate" } })
