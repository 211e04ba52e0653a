-- A Service: where requests go.

local typedefs = require "kong.db.schema.typedefs"
local socket_url = require "socket.url"

local null = ngx.null

local timeout = { type = "integer", default = 60000, between = { 1, 2 ^ 31 - 2 } }

-- A rule for `then_field` of services that do not speak TLS, or do not speak HTTP.
local function must_be_null(field, protocols)
  return { conditional = {
    if_field = "protocol", if_match = protocols,
    then_field = field, then_match = { eq = null },
  } }
end

local without_path = { one_of = { "tcp", "tls", "udp", "grpc", "grpcs" } }
local without_tls = { not_one_of = { "https", "tls" } }

-- `scheme://host:port/path`, of which everything but the host may be left out.
local function expand_url(value)
  if value == null then
    return nil
  end
  local parsed = socket_url.parse(value)
  if not parsed then
    return nil
  end
  local port = tonumber(parsed.port)
  local protocol = parsed.scheme or (port == 443 and "https") or "http"
  return {
    protocol = protocol,
    host = parsed.host or null,
    port = port or parsed.port or (protocol == "https" and 443) or 80,
    path = parsed.path or null,
  }
end

return {
  name = "services",
  primary_key = { "id" },
  endpoint_key = "name",

  fields = {
    { id = typedefs.uuid },
    { created_at = typedefs.auto_timestamp_s },
    { updated_at = typedefs.auto_timestamp_s },
    { name = typedefs.utf8_name },
    { retries = { type = "integer", default = 5, between = { 0, 32767 },
      description = "Further attempts after the first one failed." } },
    { protocol = typedefs.protocol { required = true, default = "http" } },
    { host = typedefs.host { required = true } },
    { port = typedefs.port { required = true, default = 80 } },
    { path = typedefs.path },
    { connect_timeout = timeout },
    { write_timeout = timeout },
    { read_timeout = timeout },
    { tags = typedefs.tags },
    { client_certificate = { type = "foreign", reference = "certificates",
      description = "What the gateway shows to the upstream." } },
    { tls_verify = { type = "boolean",
      description = "Whether the upstream must prove itself; null leaves it to the gateway." } },
    { tls_verify_depth = { type = "integer", default = null, between = { 0, 64 } } },
    { ca_certificates = { type = "array", elements = { type = "string", uuid = true },
      description = "The CA certificates that are trusted for this upstream." } },
    { enabled = { type = "boolean", required = true, default = true } },
  },

  entity_checks = {
    must_be_null("path", without_path),
    must_be_null("client_certificate", without_tls),
    must_be_null("tls_verify", without_tls),
    must_be_null("tls_verify_depth", without_tls),
    must_be_null("ca_certificates", without_tls),
  },

  shorthand_fields = {
    { url = { type = "string", func = expand_url } },
  },
}
