local typedefs = require "kong.db.schema.typedefs"
local fields = require "silverback.llm.fields"

local function messages(description)
  return {
    type = "array",
    required = false,
    len_max = 15,
    description = description,
    elements = {
      type = "record",
      required = false,
      fields = {
        { role = {
          type = "string",
          required = true,
          default = "system",
          one_of = { "system", "assistant", "user" },
        } },
        { content = { type = "string", required = true, len_min = 1, len_max = 100000 } },
      },
    },
  }
end

return {
  name = "ai-prompt-decorator",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { prompts = {
          type = "record",
          required = false,
          fields = {
            { prepend = messages "Messages in front of the client's, in this order." },
            { append = messages "Messages behind the client's, in this order." },
          },
        } },
        fields.body_limit(),
        fields.format(),
      },
    } },
  },
  entity_checks = {
    { at_least_one_of = { "config.prompts.prepend", "config.prompts.append" } },
  },
}
