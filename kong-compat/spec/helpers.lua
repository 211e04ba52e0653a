-- `require "spec.helpers"`: what specs of Kong's plugins call, on gateways of this binary.
--
-- There is no database: a strategy is always `off`, and what is inserted reaches a gateway when it
-- starts or loads its configuration again.

local client = require "spec.internal.client"
local settings = require "spec.internal.conf"
local DB = require "spec.internal.db"
local gateway = require "spec.internal.gateway"
local host = require "silverback.spec"
local misc = require "spec.internal.misc"
local server = require "spec.internal.server"
local wait = require "spec.internal.wait"
require "spec.internal.asserts"

local conf = settings.conf
local http_port, https_port = settings.mock_port("http"), settings.mock_port("https")

local helpers = {
  test_conf = conf,
  test_conf_path = "spec/kong_tests.conf",
  bin_path = host.program,
  external_plugins_path = "./spec/fixtures/external_plugins",
  db = DB.db,
  dns_mock = require("spec.internal.fixtures").dns_mock,
  https_server = require "spec.fixtures.https_server",

  mock_upstream_hostname = "localhost",
  mock_upstream_protocol = "http",
  mock_upstream_host = "127.0.0.1",
  mock_upstream_port = http_port,
  mock_upstream_url = "http://127.0.0.1:" .. http_port,
  mock_upstream_ssl_protocol = "https",
  mock_upstream_ssl_host = "127.0.0.1",
  mock_upstream_ssl_port = https_port,
  mock_upstream_ssl_url = "https://127.0.0.1:" .. https_port,
  mock_upstream_stream_port = settings.mock_port("stream"),
  mock_upstream_stream_ssl_port = settings.mock_port("stream ssl"),
  blackhole_host = "10.255.255.255",
}

local function from_env(name, default)
  local given = os.getenv("KONG_SPEC_TEST_" .. name:upper())
  helpers[name] = type(default) == "number" and tonumber(given) or given or default
end

from_env("redis_host", "localhost")
from_env("redis_port", 6379)
from_env("redis_ssl_port", 6380)
from_env("redis_auth_port", 6385)
from_env("redis_ssl_sni", "test-redis.example.com")
from_env("grpcbin_host", "localhost")
from_env("grpcbin_port", 9000)
from_env("grpcbin_ssl_port", 9001)
from_env("zipkin_host", "localhost")
from_env("zipkin_port", 9411)
from_env("otelcol_host", "localhost")
from_env("otelcol_http_port", 4318)
helpers.grpcbin_url = ("grpc://%s:%d"):format(helpers.grpcbin_host, helpers.grpcbin_port)
helpers.grpcbin_ssl_url = ("grpcs://%s:%d"):format(helpers.grpcbin_host, helpers.grpcbin_ssl_port)

for _, name in ipairs { "dir", "path", "file", "utils" } do
  local ok, module = pcall(require, "pl." .. name)
  helpers[name] = ok and module or nil
end

for _, module in ipairs { client, gateway, server, wait, misc } do
  for name, f in pairs(module) do
    if type(f) == "function" then
      helpers[name] = f
    end
  end
end

helpers.validate_plugin_config_schema = DB.validate_plugin_config_schema

-- `get_db_utils(strategy, tables, plugins)`: `bp` and `db`, with nothing in them.
function helpers.get_db_utils(_, tables, plugins)
  if tables ~= nil and type(tables) ~= "table" then
    error("arg #2 must be a list of tables to truncate", 2)
  elseif plugins ~= nil and type(plugins) ~= "table" then
    error("arg #3 must be a list of plugins to enable", 2)
  end
  DB.use_plugins(plugins)
  DB.reset()
  helpers.blueprints = require("spec.internal.blueprints")(DB.db)
  return helpers.blueprints, DB.db
end

helpers.blueprints = require("spec.internal.blueprints")(DB.db)

local function each(strategies)
  local names = {}
  for _, name in ipairs(strategies or { "off" }) do
    if name == "off" then
      names[#names + 1] = name
    end
  end
  return function(_, at)
    at = at + 1
    if names[at] then
      return at, names[at]
    end
  end, names, 0
end

function helpers.each_strategy()
  return each()
end

helpers.all_strategies = helpers.each_strategy

function helpers.bootstrap_database() end

function helpers.truncate_tables(db, tables)
  for _, name in ipairs(tables or {}) do
    db:truncate(name)
  end
end

return helpers
