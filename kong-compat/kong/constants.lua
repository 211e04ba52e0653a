-- Names that Kong's plugins look up instead of writing them out.

local subsystem_of = {
  http = "http",
  https = "http",
  grpc = "http",
  grpcs = "http",
  tcp = "stream",
  tls = "stream",
  tls_passthrough = "stream",
  udp = "stream",
}

local protocols = {}
for protocol in pairs(subsystem_of) do
  protocols[#protocols + 1] = protocol
end
table.sort(protocols)

return {
  PROTOCOLS = protocols,
  PROTOCOLS_WITH_SUBSYSTEM = subsystem_of,
  BUNDLED_VAULTS = { env = true },
  DATABASE = { DAO_MAX_TTL = 1e8 },
  DECLARATIVE_DEFAULT_WORKSPACE_ID = "0dc6f45b-8f8d-40d2-a504-473544ee190b",

  HEADERS = {
    ADMIN_LATENCY = "X-Kong-Admin-Latency",
    ANONYMOUS = "X-Anonymous-Consumer",
    AUTHENTICATED_GROUPS = "X-Authenticated-Groups",
    CONSUMER_CUSTOM_ID = "X-Consumer-Custom-ID",
    CONSUMER_GROUPS = "X-Consumer-Groups",
    CONSUMER_ID = "X-Consumer-ID",
    CONSUMER_USERNAME = "X-Consumer-Username",
    CREDENTIAL_IDENTIFIER = "X-Credential-Identifier",
    FORWARDED_HOST = "X-Forwarded-Host",
    FORWARDED_PATH = "X-Forwarded-Path",
    FORWARDED_PREFIX = "X-Forwarded-Prefix",
    HOST_OVERRIDE = "X-Host-Override",
    PROXY_LATENCY = "X-Kong-Proxy-Latency",
    RATELIMIT_LIMIT = "X-RateLimit-Limit",
    RATELIMIT_REMAINING = "X-RateLimit-Remaining",
    REQUEST_ID = "X-Kong-Request-Id",
    RESPONSE_LATENCY = "X-Kong-Response-Latency",
    SERVER = "Server",
    UPSTREAM_LATENCY = "X-Kong-Upstream-Latency",
    UPSTREAM_STATUS = "X-Kong-Upstream-Status",
    VIA = "Via",
  },
}
