local typedefs = require "kong.db.schema.typedefs"

-- Values are texts by their type; an empty one says nothing.
local function attributes(map)
  for _, value in pairs(map) do
    local kind = type(value)
    if kind ~= "string" and kind ~= "number" and kind ~= "boolean" then
      return nil, "invalid type of value: " .. kind
    elseif value == "" then
      return nil, "required field missing"
    end
  end
  return true
end

local function former(default, message)
  return {
    type = "integer",
    deprecation = {
      message = "opentelemetry: config." .. message,
      removal_in_version = "4.0",
      old_default = default,
    },
  }
end

local function endpoint(description)
  return typedefs.url { referenceable = true, description = description }
end

return {
  name = "opentelemetry",
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { traces_endpoint = endpoint "Where spans go: the whole address, OTLP over HTTP." },
        { logs_endpoint = endpoint "Where the gateway's log lines go, likewise." },
        { access_logs_endpoint = endpoint "Where log records go, likewise." },
        { metrics = {
          type = "record",
          fields = {
            { endpoint = endpoint "Where metrics go: the whole address, OTLP over HTTP." },
            { push_interval = {
              type = "number",
              default = 60,
              between = { 0.1, 3600 },
              description = "Seconds between two deliveries of metrics.",
            } },
          },
        } },
        { headers = {
          type = "map",
          keys = typedefs.header_name,
          values = { type = "string", referenceable = true },
          description = "Headers of each delivery, such as the collector's key.",
        } },
        { resource_attributes = {
          type = "map",
          keys = { type = "string", required = true },
          values = { type = "string", required = true },
          custom_validator = attributes,
          description = "What a collector is told of this gateway, beside service.name, "
            .. "service.version and service.instance.id, or in place of them.",
        } },
        { queue = typedefs.queue { default = { max_batch_size = 200 } } },
        { batch_span_count = former(200, "batch_span_count is deprecated, please use "
          .. "config.queue.max_batch_size instead") },
        { batch_flush_delay = former(3, "batch_flush_delay is deprecated, please use "
          .. "config.queue.max_coalescing_delay instead") },
        { connect_timeout = typedefs.timeout { default = 1000 } },
        { send_timeout = typedefs.timeout { default = 5000 } },
        { read_timeout = typedefs.timeout { default = 5000 } },
        { http_response_header_for_traceid = {
          type = "string",
          description = "A header in which clients are told the id of the trace.",
        } },
        { header_type = {
          type = "string",
          deprecation = {
            message = "opentelemetry: config.header_type is deprecated, please use "
              .. "config.propagation options instead",
            removal_in_version = "4.0",
            old_default = "preserve",
          },
          required = false,
          default = "preserve",
          one_of = {
            "preserve", "ignore", "b3", "b3-single", "w3c", "jaeger", "ot", "aws", "gcp", "datadog",
            "instana",
          },
        } },
        { sampling_rate = {
          type = "number",
          between = { 0, 1 },
          description = "The share of traces that are told, in place of tracing_sampling_rate.",
        } },
        { propagation = typedefs.propagation { default = { default_format = "w3c" } } },
      },
      entity_checks = {
        { at_least_one_of = {
          "traces_endpoint", "logs_endpoint", "access_logs_endpoint", "metrics.endpoint",
        } },
      },
      shorthand_fields = {
        { endpoint = typedefs.url {
          referenceable = true,
          deprecation = {
            message = "OpenTelemetry: config.endpoint is deprecated, please use "
              .. "config.traces_endpoint instead",
            removal_in_version = "4.0",
          },
          func = function(value)
            return { traces_endpoint = value }
          end,
        } },
      },
    } },
  },
}
