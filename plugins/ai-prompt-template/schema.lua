local typedefs = require "kong.db.schema.typedefs"
local fields = require "silverback.llm.fields"

local function flag(default, description)
  return { type = "boolean", required = true, default = default, description = description }
end

return {
  name = "ai-prompt-template",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { templates = {
          type = "array",
          required = true,
          description = "The templates that requests may call by their names.",
          elements = {
            type = "record",
            required = true,
            fields = {
              { name = {
                type = "string",
                required = true,
                description = "Requests say {template://NAME}.",
              } },
              { template = {
                type = "string",
                required = true,
                description = "A whole request body with {{placeholders}}.",
              } },
            },
          },
        } },
        { allow_untemplated_requests = flag(true,
          "Whether requests that call no template pass as they are.") },
        { log_original_request = flag(false,
          "Whether log plugins see the body as the client sent it.") },
        fields.body_limit(),
      },
    } },
  },
}
