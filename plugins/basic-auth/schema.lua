local fields = require "silverback.fields.auth"
local typedefs = require "kong.db.schema.typedefs"

return {
  name = "basic-auth",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { anonymous = fields.anonymous "password" },
        { hide_credentials = fields.hide_credentials "password" },
        { realm = fields.realm("service") },
      },
    } },
  },
}
