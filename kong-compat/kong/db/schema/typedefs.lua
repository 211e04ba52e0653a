-- Types that schemas share, by Kong's names.

local Schema = require "kong.db.schema"
local checks = require "kong.db.schema.checks"
local constants = require "kong.constants"
local tools_http = require "kong.tools.http"

local define = Schema.define
local null = ngx.null

local http_protocols = {}
for _, protocol in ipairs(constants.PROTOCOLS) do
  if constants.PROTOCOLS_WITH_SUBSYSTEM[protocol] == "http" then
    http_protocols[#http_protocols + 1] = protocol
  end
end

local typedefs = {}

-- A text that one of the checks must accept.
local function text(check, description)
  return define { type = "string", custom_validator = check, description = description }
end

-- Hosts and addresses

typedefs.host = text(checks.host, "A host name or an IP address, without a port.")
typedefs.redis_host = text(checks.host, "Host name or address of the Redis server.")
typedefs.host_with_optional_port =
  text(checks.host_with_optional_port, "A host, with or without a port.")
typedefs.wildcard_host =
  text(checks.wildcard_host, "A host name; its first or last label may be `*`.")
typedefs.sni = text(checks.sni, "A server name as a TLS client gives it.")
typedefs.redis_server_name = text(checks.sni, "Server name for TLS to the Redis server.")
typedefs.ip = text(checks.ip, "An IP address.")
typedefs.ip_or_cidr = text(checks.ip_or_cidr, "An IP address or a range such as 10.0.0.0/8.")
typedefs.cidr_v4 = text(checks.ip_or_cidr_v4, "An IPv4 address or range.")
typedefs.cidr = typedefs.cidr_v4

typedefs.port = define {
  type = "integer",
  between = { 0, 65535 },
  description = "A port, 0 to 65535.",
}

-- HTTP

typedefs.http_method = define {
  type = "string",
  match = "^%u+$",
  description = "An HTTP method, in upper case.",
}

typedefs.protocol = define {
  type = "string",
  one_of = constants.PROTOCOLS,
  description = "A protocol that the gateway knows.",
}

typedefs.protocols = define {
  type = "set",
  required = true,
  default = http_protocols,
  elements = typedefs.protocol,
  description = "The request protocols for which the plugin runs.",
}

typedefs.protocols_http = define {
  type = "set",
  required = true,
  default = http_protocols,
  elements = { type = "string", one_of = http_protocols },
  description = "The HTTP protocols for which the plugin runs.",
}

typedefs.path = define {
  type = "string",
  starts_with = "/",
  match_none = { { pattern = "//", err = "must not have empty segments" } },
  custom_validator = checks.path,
  description = "A path that starts with a slash and has no empty segments.",
}

typedefs.url = text(checks.url, "A URL with scheme and host.")
typedefs.cookie_name = text(tools_http.validate_cookie_name, "The name of a cookie.")
typedefs.header_name = text(tools_http.validate_header_name, "The name of a header.")

typedefs.headers = define {
  type = "map",
  keys = typedefs.header_name,
  values = { type = "array", elements = { type = "string" } },
  description = "Header names with lists of values.",
}

-- Time

typedefs.timeout = define {
  type = "integer",
  between = { 0, 2 ^ 31 - 2 },
  description = "A timeout in milliseconds.",
}

typedefs.ttl = define {
  type = "number",
  between = { 0, constants.DATABASE.DAO_MAX_TTL },
  description = "Seconds to live.",
}

typedefs.auto_timestamp_s = define {
  type = "integer",
  timestamp = true,
  auto = true,
  description = "Seconds since 1970.",
}

typedefs.auto_timestamp_ms = define {
  type = "number",
  timestamp = true,
  auto = true,
  description = "Seconds since 1970, to the millisecond.",
}

-- Entities

typedefs.uuid = define {
  type = "string", uuid = true, auto = true, description = "A UUID in lower case.",
}

local function no_reference(collection)
  return define {
    type = "foreign",
    reference = collection,
    eq = null,
    description = "Must not be set.",
  }
end

typedefs.no_route = no_reference "routes"
typedefs.no_service = no_reference "services"
typedefs.no_consumer = no_reference "consumers"

typedefs.name = define {
  type = "string",
  unique = true,
  custom_validator = checks.name,
  description = "A name of its own.",
}

typedefs.utf8_name = define {
  type = "string",
  unique = true,
  custom_validator = checks.utf8_name,
  description = "A name; characters outside of ASCII may be in it.",
}

typedefs.tag = define {
  type = "string",
  required = true,
  custom_validator = checks.tag,
  description = "A tag: printable characters except comma and slash.",
}

typedefs.tags = define {
  type = "set", elements = typedefs.tag, description = "Words to find entities by.",
}
typedefs.certificate = text(checks.certificate, "A certificate in PEM.")
typedefs.key = text(checks.key, "A private key in PEM.")

typedefs.pem = define {
  type = "record",
  required = false,
  fields = {
    { private_key = { type = "string", required = false, referenceable = true, encrypted = true } },
    { public_key = { type = "string", required = false, referenceable = true } },
  },
  entity_checks = { { at_least_one_of = { "private_key", "public_key" } } },
  custom_validator = checks.pem,
  description = "A pair of keys in PEM.",
}

-- Routes

local function addresses(description)
  return define {
    type = "set",
    elements = {
      type = "record",
      fields = { { ip = typedefs.ip_or_cidr }, { port = typedefs.port } },
      entity_checks = { { at_least_one_of = { "ip", "port" } } },
    },
    description = description,
  }
end

typedefs.sources = addresses "Where connections may come from."
typedefs.destinations = addresses "Where connections may go to."

typedefs.methods = define {
  type = "set",
  elements = typedefs.http_method,
  description = "HTTP methods.",
}

typedefs.hosts = define {
  type = "array",
  elements = {
    type = "string",
    match_all = {
      { pattern = "^[^*]*%*?[^*]*$", err = "invalid wildcard: must have at most one wildcard" },
    },
    match_any = {
      patterns = { "^%*%.", "%.%*$", "^[^*]*$" },
      err = "invalid wildcard: must be placed at leftmost or rightmost label",
    },
    custom_validator = checks.host_with_wildcards,
  },
  description = "Host names; the first or the last label of one may be `*`.",
}

typedefs.router_path = define {
  type = "string",
  match_any = {
    patterns = { "^/", "^~/" },
    err = "should start with: / (fixed path) or ~/ (regex path)",
  },
  match_none = { { pattern = "//", err = "must not have empty segments" } },
  custom_validator = checks.router_path,
  description = "A prefix such as /a, or a regular expression such as ~/a/\\d+$.",
}

typedefs.router_paths = define {
  type = "array",
  elements = typedefs.router_path,
  description = "Paths to match.",
}

local forbidden = {
  no_methods = "methods",
  no_hosts = "hosts",
  no_paths = "router_paths",
  no_headers = "headers",
  no_sources = "sources",
  no_destinations = "destinations",
}
for name, allowed in pairs(forbidden) do
  typedefs[name] = define(typedefs[allowed] { eq = null, description = "Must not be set." })
end

-- The rest

typedefs.semantic_version = define {
  type = "string",
  match_any = {
    patterns = { "^%d+[%.%d]*$", "^%d+[%.%d]*%-?.*$" },
    err = "invalid version number: must be in format of X.Y.Z",
  },
  match_none = { { pattern = "%.%.", err = "must not have empty version segments" } },
  description = "A version, X.Y.Z, and what follows a hyphen.",
}

typedefs.capability = define { type = "string", description = "The name of a capability." }

typedefs.lua_code = define {
  type = "map",
  keys = { type = "string", len_min = 1 },
  values = { type = "string", len_min = 1, custom_validator = checks.lua_code },
  description = "Lua code by name.",
}

typedefs.queue = define {
  type = "record",
  description = "How entries wait for their delivery.",
  fields = {
    { max_batch_size = { type = "integer", default = 1, between = { 1, 1000000 } } },
    { max_coalescing_delay = { type = "number", default = 1, between = { 0, 3600 } } },
    { max_entries = { type = "integer", default = 10000, between = { 1, 1000000 } } },
    { max_bytes = { type = "integer" } },
    { max_retry_time = { type = "number", default = 60 } },
    { initial_retry_delay = { type = "number", default = 0.01, between = { 0.001, 1000000 } } },
    { max_retry_delay = { type = "number", default = 60, between = { 0.001, 1000000 } } },
    { concurrency_limit = { type = "integer", default = 1, one_of = { -1, 1 } } },
  },
}

local function formats(...)
  return { type = "string", one_of = { "w3c", "b3", "jaeger", "ot", "aws", "datadog", "gcp",
    "instana", ... } }
end

local default_format = formats "b3-single"
default_format.required = true

typedefs.propagation = define {
  type = "record",
  description = "Which trace headers are read, removed and written.",
  fields = {
    { extract = { type = "array", elements = formats() } },
    { clear = { type = "array", elements = typedefs.header_name } },
    { inject = { type = "array", elements = formats("b3-single", "preserve") } },
    { default_format = default_format },
  },
}

return setmetatable(typedefs, {
  __index = function(_, name)
    error("schema typedef error: definition " .. tostring(name) .. " does not exist", 2)
  end,
})
