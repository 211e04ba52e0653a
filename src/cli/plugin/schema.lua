-- What the configuration of @NAME@ may be.

local typedefs = require "kong.db.schema.typedefs"

return {
  name = "@NAME@",
  fields = {
    { consumer = typedefs.no_consumer }, -- not for single consumers
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { request_header = typedefs.header_name { required = true, default = "X-Hello-Upstream" } },
        { response_header = typedefs.header_name { required = true, default = "X-Hello-Client" } },
      },
      entity_checks = {
        { distinct = { "request_header", "response_header" } },
      },
    } },
  },
}
