local typedefs = require "kong.db.schema.typedefs"

return {
  name = "basic-auth",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { anonymous = {
          type = "string",
          description = "Id or username of the consumer that callers without a password are.",
        } },
        { hide_credentials = {
          type = "boolean",
          required = true,
          default = false,
          description = "Whether the upstream's request goes without the password.",
        } },
        { realm = {
          type = "string",
          required = true,
          default = "service",
          description = "The realm that WWW-Authenticate names on a refusal.",
        } },
      },
    } },
  },
}
