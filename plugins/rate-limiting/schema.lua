local counters = require "silverback.fields.counters"
local typedefs = require "kong.db.schema.typedefs"
local redis = require "kong.tools.redis.schema"

local in_order =
  counters.in_order "The limit for %s(%.1f) cannot be lower than the limit for %s(%.1f)"

local function validate(config)
  local ok, err = in_order(config)
  if not ok then
    return nil, err
  end

  local rate = config.sync_rate
  if config.policy ~= "redis" and rate ~= -1 then
    return nil, "sync_rate can only be used with the redis policy"
  elseif config.policy == "redis" and rate ~= -1 and rate < 0.02 then
    return nil, "sync_rate must be greater than 0.02, or -1 to disable"
  end
  return true
end

local function limit(period)
  local description = "How many requests pass in one " .. period .. "."
  return { type = "number", gt = 0, description = description }
end

local checks = redis.required_checks()
table.insert(checks, 1, { at_least_one_of = {
  "config.second",
  "config.minute",
  "config.hour",
  "config.day",
  "config.month",
  "config.year",
} })
for _, criterion in ipairs { { "header", "header_name" }, { "path", "path" } } do
  checks[#checks + 1] = { conditional = {
    if_field = "config.limit_by",
    if_match = { eq = criterion[1] },
    then_field = "config." .. criterion[2],
    then_match = { required = true },
  } }
end

return {
  name = "rate-limiting",
  supported_partials = counters.supported_partials,
  fields = {
    { protocols = typedefs.protocols_http },
    { config = {
      type = "record",
      custom_validator = validate,
      fields = {
        { second = limit "second" },
        { minute = limit "minute" },
        { hour = limit "hour" },
        { day = limit "day" },
        { month = limit "month" },
        { year = limit "year" },
        { limit_by = {
          type = "string",
          default = "consumer",
          one_of = { "consumer", "credential", "ip", "service", "header", "path" },
          description = "Whose requests are counted together; if unknown, those of the address.",
        } },
        { header_name = typedefs.header_name },
        { path = typedefs.path },
        { policy = counters.policy(0) },
        { fault_tolerant = counters.fault_tolerant },
        { redis = redis.config_schema },
        { hide_client_headers = counters.hide_client_headers },
        { error_code = {
          type = "number",
          default = 429,
          gt = 0,
          description = "The status of a refusal.",
        } },
        { error_message = {
          type = "string",
          default = "API rate limit exceeded",
          description = "The message of a refusal.",
        } },
        { sync_rate = {
          type = "number",
          required = true,
          default = -1,
          description = "Seconds between two exchanges with Redis; -1 asks it for every request.",
        } },
      },
      shorthand_fields = redis.flat_fields "rate-limiting",
    } },
  },
  entity_checks = checks,
}
