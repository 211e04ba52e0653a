local fields = require "silverback.fields.auth"
local typedefs = require "kong.db.schema.typedefs"

local flag = fields.flag

return {
  name = "key-auth",
  fields = {
    { consumer = typedefs.no_consumer },
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { key_names = {
          type = "array",
          required = true,
          default = { "apikey" },
          elements = typedefs.header_name,
          description = "The headers, query arguments or body fields that may hold the key.",
        } },
        { hide_credentials = fields.hide_credentials "key" },
        { anonymous = fields.anonymous "key" },
        { key_in_header = flag(true, "Whether the key may be in a header.") },
        { key_in_query = flag(true, "Whether the key may be in the query.") },
        { key_in_body = flag(false, "Whether the key may be in a form, multipart or JSON body.") },
        { run_on_preflight = fields.run_on_preflight "key" },
        { realm = fields.realm() },
      },
    } },
  },
}
