-- The connection to a Redis server, its sentinels or its cluster, as the AI plugins take it.

local typedefs = require "kong.db.schema.typedefs"
local words = require "silverback.llm.words"

local text, referenceable, secret = words.text, words.referenceable, words.secret
local flag, record = words.flag, words.record

local function timeout(default)
  return typedefs.timeout { required = false, default = default }
end

local function nodes(address)
  return {
    type = "array",
    required = false,
    len_min = 1,
    elements = {
      type = "record",
      fields = {
        { [address] = text "127.0.0.1" },
        { port = typedefs.port { required = false, default = 6379 } },
      },
    },
  }
end

local cloud_authentication = record {
  { auth_provider = text(nil, { referenceable = true, one_of = { "aws", "azure", "gcp" } }) },
  { aws_access_key_id = secret() },
  { aws_assume_role_arn = secret() },
  { aws_cache_name = referenceable() },
  { aws_is_serverless = flag(true) },
  { aws_region = referenceable() },
  { aws_role_session_name = secret() },
  { aws_secret_access_key = secret() },
  { azure_client_id = secret() },
  { azure_client_secret = secret() },
  { azure_tenant_id = secret() },
  { gcp_service_account_json = secret() },
}

return record {
  { host = referenceable "127.0.0.1" },
  { port = typedefs.port { required = false, default = 6379, referenceable = true } },
  { connect_timeout = timeout(2000) },
  { send_timeout = timeout(2000) },
  { read_timeout = timeout(2000) },
  { username = referenceable() },
  { password = secret() },
  { sentinel_username = referenceable() },
  { sentinel_password = secret() },
  { database = { type = "integer", required = false, default = 0 } },
  { keepalive_pool_size = {
    type = "integer",
    required = false,
    default = 256,
    between = { 1, 2 ^ 31 - 2 },
  } },
  { keepalive_backlog = { type = "integer", required = false, between = { 0, 2 ^ 31 - 2 } } },
  { sentinel_master = text() },
  { sentinel_role = text(nil, { one_of = { "master", "slave", "any" } }) },
  { sentinel_nodes = nodes "host" },
  { cluster_nodes = nodes "ip" },
  { cluster_max_redirections = { type = "integer", required = false, default = 5 } },
  { ssl = flag(false) },
  { ssl_verify = flag(true) },
  { server_name = typedefs.sni { required = false, referenceable = true } },
  { connection_is_proxied = flag(false) },
  { cloud_authentication = cloud_authentication },
}
