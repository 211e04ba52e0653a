local typedefs = require "kong.db.schema.typedefs"

local function flag(description)
  return { type = "boolean", default = true, description = description }
end

return {
  name = "proxy-cache",
  fields = {
    { protocols = typedefs.protocols },
    { config = {
      type = "record",
      fields = {
        { response_code = {
          type = "array",
          default = { 200, 301, 404 },
          elements = { type = "integer", between = { 100, 900 } },
          len_min = 1,
          required = true,
          description = "The statuses of replies that are kept.",
        } },
        { request_method = {
          type = "array",
          default = { "GET", "HEAD" },
          elements = { type = "string", one_of = { "HEAD", "GET", "POST", "PATCH", "PUT" } },
          required = true,
          description = "The methods of requests whose replies are kept.",
        } },
        { content_type = {
          type = "array",
          default = { "text/plain", "application/json" },
          elements = { type = "string" },
          required = true,
          description = "The types of replies that are kept, with all their parameters.",
        } },
        { cache_ttl = {
          type = "integer",
          default = 300,
          gt = 0,
          description = "Seconds for which a reply is fresh.",
        } },
        { strategy = {
          type = "string",
          one_of = { "memory" },
          required = true,
          description = "Where replies are kept.",
        } },
        { cache_control = {
          type = "boolean",
          default = false,
          required = true,
          description = "Whether Cache-Control of requests and replies counts.",
        } },
        { ignore_uri_case = {
          type = "boolean",
          default = false,
          required = false,
          description = "Whether paths that differ in case are the same.",
        } },
        { storage_ttl = {
          type = "integer",
          description = "Seconds for which a reply is kept, fresh or not.",
        } },
        { memory = {
          type = "record",
          fields = {
            { dictionary_name = {
              type = "string",
              required = true,
              default = "kong_db_cache",
              description = "Without effect: there is one store.",
            } },
          },
        } },
        { vary_query_params = {
          type = "array",
          elements = { type = "string" },
          description = "The query arguments that make replies differ; without any, all.",
        } },
        { vary_headers = {
          type = "array",
          elements = { type = "string" },
          description = "The headers that make replies differ; without any, none.",
        } },
        { response_headers = {
          type = "record",
          description = "Which headers tell the client about the cache.",
          fields = {
            { age = flag("How old the reply is.") },
            { ["X-Cache-Status"] = flag("Whether the reply was kept.") },
            { ["X-Cache-Key"] = flag("What it is kept under.") },
          },
        } },
      },
    } },
  },
}
