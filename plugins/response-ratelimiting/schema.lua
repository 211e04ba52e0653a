local counters = require "silverback.fields.counters"
local typedefs = require "kong.db.schema.typedefs"
local redis = require "kong.tools.redis.schema"

local in_order =
  counters.in_order "the limit for %s(%.1f) cannot be lower than the limit for %s(%.1f)"

local limit_fields = {}
for i, period in ipairs(counters.periods) do
  limit_fields[i] = { [period] = { type = "number", gt = 0 } }
end

return {
  name = "response-ratelimiting",
  supported_partials = counters.supported_partials,
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      fields = {
        { header_name = {
          type = "string",
          default = "x-kong-limit",
          description = "The response header in which the upstream says what a request has used.",
        } },
        { limit_by = {
          type = "string",
          default = "consumer",
          one_of = { "consumer", "credential", "ip" },
          description = "Whose use is counted together; if unknown, that of the address.",
        } },
        { policy = counters.policy() },
        { fault_tolerant = counters.fault_tolerant },
        { redis = redis.config_schema },
        { block_on_first_violation = {
          type = "boolean",
          required = true,
          default = false,
          description = "Whether a request is refused as soon as any limit is used up.",
        } },
        { hide_client_headers = counters.hide_client_headers },
        { limits = {
          type = "map",
          required = true,
          len_min = 1,
          keys = { type = "string" },
          values = {
            type = "record",
            required = true,
            fields = limit_fields,
            custom_validator = in_order,
            entity_checks = { { at_least_one_of = counters.periods } },
          },
          description = "Limits by the names that the upstream gives them.",
        } },
      },
      shorthand_fields = redis.flat_fields "response-ratelimiting",
    } },
  },
  entity_checks = redis.required_checks(),
}
