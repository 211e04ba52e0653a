local typedefs = require "kong.db.schema.typedefs"

return {
  name = "correlation-id",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { header_name = {
          type = "string",
          default = "Kong-Request-ID",
          description = "The header that carries the id.",
        } },
        { generator = {
          type = "string",
          required = true,
          default = "uuid#counter",
          one_of = { "uuid", "uuid#counter", "tracker" },
          description = "The form of the ids that are made for requests without one.",
        } },
        { echo_downstream = {
          type = "boolean",
          required = true,
          default = false,
          description = "Whether the client gets the header, too.",
        } },
      },
    } },
  },
}
