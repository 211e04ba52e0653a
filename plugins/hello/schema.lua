local typedefs = require "kong.db.schema.typedefs"

return {
  name = "hello",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { header_name = typedefs.header_name {
          required = true,
          default = "X-Hello",
          description = "The response header that carries the greeting.",
        } },
        { greeting = {
          type = "string",
          required = true,
          default = "hello",
          description = "What the header says.",
        } },
      },
    } },
  },
}
