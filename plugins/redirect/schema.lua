local typedefs = require "kong.db.schema.typedefs"

return {
  name = "redirect",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { status_code = {
          type = "integer",
          required = true,
          default = 301,
          between = { 100, 599 },
          description = "The status of the answer.",
        } },
        { location = typedefs.url { required = true, description = "Where the client is sent." } },
        { keep_incoming_path = {
          type = "boolean",
          default = false,
          description = "Whether path and query of the request go into `location`.",
        } },
      },
    } },
  },
}
