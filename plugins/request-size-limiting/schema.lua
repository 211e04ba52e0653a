local typedefs = require "kong.db.schema.typedefs"

local units = { "megabytes", "kilobytes", "bytes" }

return {
  name = "request-size-limiting",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { allowed_payload_size = {
          type = "integer",
          default = 128,
          description = "The largest body, in units of `size_unit`.",
        } },
        { size_unit = {
          type = "string",
          required = true,
          default = units[1],
          one_of = units,
          description = "The unit of the size; a kilobyte has 1024 bytes.",
        } },
        { require_content_length = {
          type = "boolean",
          required = true,
          default = false,
          description = "Whether a request must say how long its body is, or send it in chunks.",
        } },
      },
    } },
  },
}
