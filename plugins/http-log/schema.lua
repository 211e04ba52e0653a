local typedefs = require "kong.db.schema.typedefs"
local url = require "socket.url"

-- Headers that the plugin sends itself.
local function without(pattern, name)
  return { pattern = pattern, err = "cannot contain '" .. name .. "' header" }
end

local header_names = typedefs.header_name {
  match_none = {
    without("^[Hh][Oo][Ss][Tt]$", "Host"),
    without("^[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Ll][Ee][nn][Gg][Tt][Hh]$", "Content-Length"),
    without("^[Cc][Oo][Nn][Tt][Ee][Nn][Tt]%-[Tt][Yy][Pp][Ee]$", "Content-Type"),
  },
}

local function validate(config)
  local parsed = url.parse(config.http_endpoint)
  local headers = config.headers
  if parsed and parsed.userinfo and headers and headers ~= ngx.null then
    for name in pairs(headers) do
      if name:lower() == "authorization" then
        return false, "specifying both an 'Authorization' header and user info in "
          .. "'http_endpoint' is not allowed"
      end
    end
  end
  return true
end

-- A field of old, and the word on what took its place.
local function former(kind, default, message)
  return {
    type = kind,
    deprecation = {
      message = "http-log: config." .. message,
      removal_in_version = "4.0",
      old_default = default,
    },
  }
end

return {
  name = "http-log",
  fields = {
    { protocols = typedefs.protocols },
    { config = {
      type = "record",
      custom_validator = validate,
      fields = {
        { http_endpoint = typedefs.url {
          required = true,
          encrypted = true,
          referenceable = true,
          description = "The address of the log server.",
        } },
        { method = {
          type = "string",
          default = "POST",
          one_of = { "POST", "PUT", "PATCH" },
          description = "The method of a delivery.",
        } },
        { content_type = {
          type = "string",
          default = "application/json",
          one_of = { "application/json", "application/json; charset=utf-8" },
          description = "The type that a delivery says it has.",
        } },
        { timeout = {
          type = "number",
          default = 10000,
          description = "Milliseconds that a delivery may take.",
        } },
        { keepalive = {
          type = "number",
          default = 60000,
          description = "Milliseconds that an idle connection is kept.",
        } },
        { retry_count = former("integer", 10,
          "retry_count no longer works, please use config.queue.max_retry_time instead") },
        { queue_size = former("integer", 1,
          "queue_size is deprecated, please use config.queue.max_batch_size instead") },
        { flush_timeout = former("number", 2,
          "flush_timeout is deprecated, please use config.queue.max_coalescing_delay instead") },
        { headers = {
          type = "map",
          keys = header_names,
          values = { type = "string", referenceable = true },
          description = "Headers of a delivery.",
        } },
        { queue = typedefs.queue },
        { custom_fields_by_lua = typedefs.lua_code },
      },
    } },
  },
}
