local typedefs = require "kong.db.schema.typedefs"

local ALGORITHMS = { "hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512" }

local function flag(description)
  return { type = "boolean", required = true, default = false, description = description }
end

return {
  name = "hmac-auth",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { hide_credentials = flag("Whether the upstream's request goes without the signature.") },
        { clock_skew = {
          type = "number",
          default = 300,
          gt = 0,
          description = "Seconds by which the client's clock may be wrong.",
        } },
        { anonymous = {
          type = "string",
          description = "Id or username of the consumer that callers without a signature are.",
        } },
        { validate_request_body = flag("Whether the body must be that of the Digest header.") },
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
        { realm = {
          type = "string",
          required = false,
          description = "The realm that WWW-Authenticate names on a refusal.",
        } },
      },
    } },
  },
}
