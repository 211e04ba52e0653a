-- Names and numbers that Kong's plugins look up instead of writing them out.

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

local bundled = {}
for name in ([[
  acl acme ai-prompt-decorator ai-prompt-guard ai-prompt-template ai-proxy ai-request-transformer
  ai-response-transformer aws-lambda azure-functions basic-auth bot-detection correlation-id cors
  datadog file-log grpc-gateway grpc-web hmac-auth http-log ip-restriction jwt key-auth ldap-auth
  loggly oauth2 opentelemetry post-function pre-function prometheus proxy-cache rate-limiting
  redirect request-size-limiting request-termination request-transformer response-ratelimiting
  response-transformer session standard-webhooks statsd syslog tcp-log udp-log zipkin
]]):gmatch("%S+") do
  bundled[name] = true
end

-- A list that also tells whether it holds a name.
local function set(names)
  for i = 1, #names do
    names[names[i]] = true
  end
  return names
end

local levels = {
  debug = ngx.DEBUG, info = ngx.INFO, notice = ngx.NOTICE, warn = ngx.WARN, error = ngx.ERR,
  crit = ngx.CRIT, alert = ngx.ALERT, emerg = ngx.EMERG,
}
local by_number = {}
for name, number in pairs(levels) do
  by_number[number] = name
end
for number, name in pairs(by_number) do
  levels[number] = name
end

return {
  CJSON_MAX_PRECISION = 16,
  BUNDLED_PLUGINS = bundled,
  DEPRECATED_PLUGINS = {},
  BUNDLED_VAULTS = { env = true },
  DEPRECATED_VAULTS = {},
  PROTOCOLS = protocols,
  PROTOCOLS_WITH_SUBSYSTEM = subsystem_of,
  -- A century of seconds and more would overflow.
  DATABASE = { POSTGRES = { MIN = "9.5" }, DAO_MAX_TTL = 1e8 },
  CORE_ENTITIES = set {
    "workspaces", "consumers", "certificates", "services", "routes", "snis", "upstreams",
    "targets", "plugins", "tags", "ca_certificates", "clustering_data_planes", "parameters",
    "vaults", "key_sets", "keys", "filter_chains",
  },
  ENTITY_CACHE_STORE = setmetatable({
    consumers = "cache", tags = "cache", certificates = "core_cache", services = "core_cache",
    routes = "core_cache", snis = "core_cache", upstreams = "core_cache", targets = "core_cache",
    plugins = "core_cache", ca_certificates = "core_cache", vaults = "core_cache",
    key_sets = "core_cache", keys = "core_cache",
  }, { __index = function() return "cache" end }),
  RATELIMIT = { PERIODS = { "second", "minute", "hour", "day", "month", "year" } },
  DICTS = {
    "kong", "kong_locks", "kong_db_cache", "kong_db_cache_miss", "kong_cluster_events",
    "kong_healthchecks", "kong_rate_limiting_counters", "kong_secrets",
  },
  KEY_FORMATS_MAP = { jwk = true, pem = true },
  KEY_FORMATS = { "jwk", "pem" },
  LOG_LEVELS = levels,
  RESPONSE_SOURCE = {
    TYPES = { ERROR = "error", EXIT = "exit", SERVICE = "service" },
    NAMES = { error = "kong", exit = "kong", service = "upstream" },
  },
  DECLARATIVE_LOAD_KEY = "declarative_config:loaded",
  DECLARATIVE_HASH_KEY = "declarative_config:hash",
  DECLARATIVE_DEFAULT_WORKSPACE_KEY = "declarative_config:default_workspace",
  DECLARATIVE_DEFAULT_WORKSPACE_ID = "0dc6f45b-8f8d-40d2-a504-473544ee190b",
  DECLARATIVE_EMPTY_CONFIG_HASH = ("0"):rep(32),
  PLUGINS_REBUILD_COUNTER_KEY = "readiness_probe_config:plugins_rebuild_counter",
  ROUTERS_REBUILD_COUNTER_KEY = "readiness_probe_config:routers_rebuild_counter",
  CLUSTER_ID_PARAM_KEY = "cluster_id",
  CLUSTERING_TIMEOUT = 5000,
  CLUSTERING_PING_INTERVAL = 30,
  CLUSTERING_OCSP_TIMEOUT = 5000,
  CLEAR_HEALTH_STATUS_DELAY = 300,
  DYN_LOG_LEVEL_KEY = "kong:dyn_log_level",
  DYN_LOG_LEVEL_TIMEOUT_AT_KEY = "kong:dyn_log_level_timeout_at",
  DYN_LOG_LEVEL_DEFAULT_TIMEOUT = 60,
  REQUEST_DEBUG_TOKEN_FILE = ".request_debug_token",
  REQUEST_DEBUG_LOG_PREFIX = "[request-debug]",
  SCHEMA_NAMESPACES = { PROXY_WASM_FILTERS = "proxy-wasm-filters" },

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
