local typedefs = require "kong.db.schema.typedefs"

local function is_set(value)
  return type(value) == "string" and value ~= ""
end

-- There are three ways to answer: a message, a body of one's own, an echo. They do not mix.
local function validate(config)
  local own_body = is_set(config.content_type) or is_set(config.body)
  if is_set(config.message) and own_body then
    return nil, "message cannot be used with content_type or body"
  elseif is_set(config.content_type) and not is_set(config.body) then
    return nil, "content_type requires a body"
  elseif config.echo and own_body then
    return nil, "echo cannot be used with content_type and body"
  end
  return true
end

return {
  name = "request-termination",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      custom_validator = validate,
      fields = {
        { status_code = {
          type = "integer",
          required = true,
          default = 503,
          between = { 100, 599 },
          description = "The status of the answer.",
        } },
        { message = { type = "string", description = "The message in Kong's own form of body." } },
        { content_type = { type = "string", description = "The type of `body`." } },
        { body = { type = "string", description = "The whole body, instead of a message." } },
        { echo = {
          type = "boolean",
          required = true,
          default = false,
          description = "Whether the answer is a copy of the request, to look at while debugging.",
        } },
        { trigger = typedefs.header_name {
          description = "The header or query argument without which the request goes on.",
        } },
      },
    } },
  },
}
