-- An Upstream: a virtual host name that is balanced over Targets.

local typedefs = require "kong.db.schema.typedefs"
local normalize_ip = require("kong.tools.ip").normalize_ip

local null = ngx.null

local function validate_name(name)
  local parsed = normalize_ip(name)
  local said
  if not parsed then
    said = "must be a valid hostname"
  elseif parsed.type ~= "name" then
    said = "no ip addresses allowed"
  elseif parsed.port then
    said = "no port allowed"
  end
  if said then
    return nil, ("Invalid name ('%s'); %s"):format(name, said)
  end
  return true
end

-- What can be hashed to choose a target.
local HASH_KINDS = {
  "none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture",
}

local hash_kind = { type = "string", default = "none", one_of = HASH_KINDS }
local parameter = { type = "string", len_min = 1 }

-- In the order in which Kong lists them to the author of a wrong one.
local function all_but(excluded)
  local rest = {}
  local kinds = { "none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture" }
  if excluded == "path" then
    kinds = { "none", "consumer", "header", "cookie", "query_arg", "ip", "uri_capture" }
  end
  for _, kind in ipairs(kinds) do
    if kind ~= excluded then
      rest[#rest + 1] = kind
    end
  end
  return rest
end

-- When `field` is `kind`, the other field must match. A pattern lets a null pass, which `eq` would
-- not: Kong holds every rule against a `hash_fallback` of null.
local function when(field, kind, then_field, then_match)
  return { conditional = {
    if_field = field, if_match = { match = "^" .. kind .. "$" },
    then_field = then_field, then_match = then_match,
  } }
end

local required = { required = true }
local nothing = { one_of = { "none" } }

-- Health checks

local function count()
  return { type = "integer", default = 0, between = { 0, 255 } }
end

local function seconds(default)
  return { type = "number", default = default, between = { 0, 65535 } }
end

local function statuses(default)
  local status = { type = "integer", between = { 100, 999 } }
  return { type = "array", default = default, elements = status }
end

local function check_type()
  return { type = "string", default = "http", one_of = { "tcp", "http", "https", "grpc", "grpcs" } }
end

local active = {
  type = "record",
  description = "Probes that the gateway sends; an interval of 0 sends none.",
  fields = {
    { type = check_type() },
    { timeout = seconds(1) },
    { concurrency = { type = "integer", default = 10, between = { 1, 2 ^ 31 } } },
    { http_path = typedefs.path { default = "/" } },
    { https_sni = typedefs.sni },
    { https_verify_certificate = { type = "boolean", required = true, default = true } },
    { headers = typedefs.headers },
    { healthy = { type = "record", fields = {
      { interval = seconds(0) },
      { http_statuses = statuses { 200, 302 } },
      { successes = count() },
    } } },
    { unhealthy = { type = "record", fields = {
      { interval = seconds(0) },
      { http_statuses = statuses { 429, 404, 500, 501, 502, 503, 504, 505 } },
      { tcp_failures = count() },
      { timeouts = count() },
      { http_failures = count() },
    } } },
  },
}

local passive = {
  type = "record",
  description = "What is learnt from the requests themselves; counters of 0 learn nothing.",
  fields = {
    { type = check_type() },
    { healthy = { type = "record", fields = {
      { http_statuses = statuses {
        200, 201, 202, 203, 204, 205, 206, 207, 208, 226,
        300, 301, 302, 303, 304, 305, 306, 307, 308,
      } },
      { successes = count() },
    } } },
    { unhealthy = { type = "record", fields = {
      { http_statuses = statuses { 429, 500, 503 } },
      { tcp_failures = count() },
      { timeouts = count() },
      { http_failures = count() },
    } } },
  },
}

return {
  name = "upstreams",
  primary_key = { "id" },
  endpoint_key = "name",

  fields = {
    { id = typedefs.uuid },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
    { name = { type = "string", required = true, unique = true, custom_validator = validate_name,
      description = "The host name by which Services mean this upstream." } },
    { algorithm = { type = "string", default = "round-robin",
      one_of = { "consistent-hashing", "least-connections", "round-robin", "latency" } } },
    { hash_on = hash_kind },
    { hash_fallback = hash_kind },
    { hash_on_header = typedefs.header_name },
    { hash_fallback_header = typedefs.header_name },
    { hash_on_cookie = typedefs.cookie_name },
    { hash_on_cookie_path = typedefs.path { default = "/" } },
    { hash_on_query_arg = parameter },
    { hash_fallback_query_arg = parameter },
    { hash_on_uri_capture = parameter },
    { hash_fallback_uri_capture = parameter },
    { slots = { type = "integer", default = 10000, between = { 10, 2 ^ 16 } } },
    { healthchecks = { type = "record", fields = {
      { threshold = { type = "number", default = 0, between = { 0, 100 },
        description = "Percent of the weight that must be healthy for the upstream to be." } },
      { active = active },
      { passive = passive },
    } } },
    { tags = typedefs.tags },
    { host_header = typedefs.host_with_optional_port },
    { client_certificate = { type = "foreign", reference = "certificates" } },
    { use_srv_name = { type = "boolean", default = false } },
  },

  entity_checks = {
    when("hash_on", "header", "hash_on_header", required),
    when("hash_fallback", "header", "hash_fallback_header", required),
    when("hash_on", "cookie", "hash_on_cookie", required),
    when("hash_fallback", "cookie", "hash_on_cookie", required),

    -- Without a first choice, or with a cookie that is made when it is missing, nothing falls back.
    when("hash_on", "none", "hash_fallback", nothing),
    when("hash_on", "cookie", "hash_fallback", nothing),

    -- To fall back on the same thing is no fallback. Headers may differ by their name.
    when("hash_on", "consumer", "hash_fallback", { one_of = all_but("consumer") }),
    when("hash_on", "ip", "hash_fallback", { one_of = all_but("ip") }),
    when("hash_on", "path", "hash_fallback", { one_of = all_but("path") }),
    { distinct = { "hash_on_header", "hash_fallback_header" } },

    when("hash_on", "query_arg", "hash_on_query_arg", required),
    when("hash_fallback", "query_arg", "hash_fallback_query_arg", required),
    { distinct = { "hash_on_query_arg", "hash_fallback_query_arg" } },

    when("hash_on", "uri_capture", "hash_on_uri_capture", required),
    when("hash_fallback", "uri_capture", "hash_fallback_uri_capture", required),
    { distinct = { "hash_on_uri_capture", "hash_fallback_uri_capture" } },
  },

  -- To hash on something is to use consistent hashing, whatever `algorithm` says, and the other
  -- way round. The order counts: `algorithm` may take `hash_on` away before it is looked at.
  shorthand_fields = {
    { algorithm = {
      type = "string",
      func = function(algorithm)
        if algorithm == "least-connections" or algorithm == "latency" then
          return { algorithm = algorithm, hash_on = null }
        end
        return { algorithm = algorithm }
      end,
    } },
    { hash_on = {
      type = "string",
      func = function(kind)
        if kind == null then
          return { hash_on = "none" }
        end
        return {
          hash_on = kind,
          algorithm = kind == "none" and "round-robin" or "consistent-hashing",
        }
      end,
    } },
  },
}
