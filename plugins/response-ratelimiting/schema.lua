local typedefs = require "kong.db.schema.typedefs"
local redis = require "kong.tools.redis.schema"

local periods = { "second", "minute", "hour", "day", "month", "year" }

-- A limit of a longer period that is below one of a shorter period makes the latter pointless.
local function validate(limits)
  for i, shorter in ipairs(periods) do
    for j = i + 1, #periods do
      local longer = periods[j]
      local low, high = limits[shorter], limits[longer]
      if type(low) == "number" and type(high) == "number" and high < low then
        local err = "the limit for %s(%.1f) cannot be lower than the limit for %s(%.1f)"
        return nil, err:format(longer, high, shorter, low)
      end
    end
  end
  return true
end

local limit_fields = {}
for i, period in ipairs(periods) do
  limit_fields[i] = { [period] = { type = "number", gt = 0 } }
end

return {
  name = "response-ratelimiting",
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
        { policy = {
          type = "string",
          default = "local",
          one_of = { "local", "redis" },
          description = "Where the counters are: in this process, or in Redis.",
        } },
        { fault_tolerant = {
          type = "boolean",
          required = true,
          default = true,
          description = "Whether requests pass uncounted when the counters cannot be reached.",
        } },
        { redis = redis.config_schema },
        { block_on_first_violation = {
          type = "boolean",
          required = true,
          default = false,
          description = "Whether a request is refused as soon as any limit is used up.",
        } },
        { hide_client_headers = {
          type = "boolean",
          required = true,
          default = false,
          description = "Whether the client is not told what is left.",
        } },
        { limits = {
          type = "map",
          required = true,
          len_min = 1,
          keys = { type = "string" },
          values = {
            type = "record",
            required = true,
            fields = limit_fields,
            custom_validator = validate,
            entity_checks = { { at_least_one_of = periods } },
          },
          description = "Limits by the names that the upstream gives them.",
        } },
      },
      shorthand_fields = redis.flat_fields "response-ratelimiting",
    } },
  },
  entity_checks = redis.required_checks(),
}
