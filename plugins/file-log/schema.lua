local typedefs = require "kong.db.schema.typedefs"

return {
  name = "file-log",
  fields = {
    { protocols = typedefs.protocols },
    { config = {
      type = "record",
      fields = {
        { path = {
          type = "string",
          required = true,
          match = [[^[^%s*&%%\`][^*&%%\`]*[^%s*&%%\`]$]],
          err = "not a valid filename",
          description = "The file that gets a line of JSON for each request.",
        } },
        { reopen = {
          type = "boolean",
          required = true,
          default = false,
          description = "Whether the file is opened anew for each line, so it may be moved.",
        } },
        { custom_fields_by_lua = typedefs.lua_code },
      },
    } },
  },
}
