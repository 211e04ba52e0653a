local fields = require "silverback.fields.auth"
local typedefs = require "kong.db.schema.typedefs"

local flag = fields.flag

local ALGORITHMS = { "hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512" }

return {
  name = "hmac-auth",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { hide_credentials = fields.hide_credentials "signature" },
        { clock_skew = {
          type = "number",
          default = 300,
          gt = 0,
          description = "Seconds by which the client's clock may be wrong.",
        } },
        { anonymous = fields.anonymous "signature" },
        { validate_request_body = flag(
          false,
          "Whether the body must be that of the Digest header."
        ) },
        { enforce_headers = {
          type = "array",
          elements = { type = "string" },
          default = {},
          description = "Headers that every signature must cover.",
        } },
        { algorithms = {
          type = "array",
          elements = { type = "string", one_of = ALGORITHMS },
          default = ALGORITHMS,
          description = "The algorithms that a signature may have.",
        } },
        { realm = fields.realm() },
      },
    } },
  },
}
