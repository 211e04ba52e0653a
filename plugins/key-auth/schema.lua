local typedefs = require "kong.db.schema.typedefs"

local function flag(default, description)
  return { type = "boolean", required = true, default = default, description = description }
end

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
        { hide_credentials = flag(false, "Whether the upstream's request goes without the key.") },
        { anonymous = {
          type = "string",
          description = "Id or username of the consumer that callers without a key are.",
        } },
        { key_in_header = flag(true, "Whether the key may be in a header.") },
        { key_in_query = flag(true, "Whether the key may be in the query.") },
        { key_in_body = flag(false, "Whether the key may be in a form, multipart or JSON body.") },
        { run_on_preflight = flag(true, "Whether an OPTIONS request needs a key, too.") },
        { realm = {
          type = "string",
          required = false,
          description = "The realm that WWW-Authenticate names on a refusal.",
        } },
      },
    } },
  },
}
