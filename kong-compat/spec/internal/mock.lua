-- The upstream of specs: a gateway of its own whose plugin is the code in `mock_upstream`. It is
-- started once for a run.

local cjson = require "cjson"
local host = require "silverback.spec"
local settings = require "spec.internal.conf"

local mock = {}

local function read(path)
  local file = io.open(path, "r")
  local text = file and file:read("*a") or ""
  if file then
    file:close()
  end
  return text
end

-- Starts a gateway whose `pre-function` is this code; waits until it listens.
local function launch(name, listen, code, phase, keep)
  local base = os.tmpname()
  local log, file = base .. "." .. name .. ".log", base .. ".json"
  os.remove(base)
  local out = assert(io.open(file, "w"))
  out:write(cjson.encode { _format_version = "3.0", plugins = { { name = "pre-function",
    config = { [phase] = { code } } } } })
  out:close()
  local process = host.spawn {
    args = { "run", file }, output = log, keep = keep, unset = { "KONG_DATABASE", "KONG_PREFIX" },
    env = {
      KONG_PROXY_LISTEN = listen, KONG_ADMIN_LISTEN = "off", KONG_STATUS_LISTEN = "off",
      KONG_UNTRUSTED_LUA = "on", KONG_HEADERS = "off", KONG_TRUSTED_IPS = "127.0.0.1",
      KONG_NGINX_WORKER_PROCESSES = "1", KONG_PLUGINS = "bundled", KONG_LOG_LEVEL = "notice",
      KONG_PROXY_ACCESS_LOG = "off", SILVERBACK_DRAIN_SECS = "1",
      KONG_LUA_PACKAGE_PATH = package.path,
    },
  }
  for _ = 1, 3000 do
    if read(log):find("proxy listens on", 1, true) then
      os.remove(file)
      return process
    elseif process:status() then
      break
    end
    ngx.sleep(0.01)
  end
  error("the mock server '" .. name .. "' does not start:\n" .. read(log), 0)
end

function mock.start()
  if host.note("mock") then
    return
  end
  local listen = ("127.0.0.1:%d, 127.0.0.1:%d ssl"):format(settings.mock_port("http"),
    settings.mock_port("https"))
  launch("mock-upstream", listen, 'return require("spec.mock_upstream").serve()', "rewrite", true)
  host.note("mock", "started")
end

mock.launch = launch

-- Servers of specs' fixtures, by the prefix of their gateway.
local of_prefix = {}

function mock.server_block(name, text, prefix)
  of_prefix[prefix] = of_prefix[prefix] or {}
  for _, server in ipairs(require("spec.internal.nginx_block").servers(text)) do
    local process = launch(name, server.listens, server.code, "rewrite")
    table.insert(of_prefix[prefix], process)
  end
end

function mock.stop_blocks(prefix)
  for _, process in ipairs(of_prefix[prefix] or {}) do
    process:signal("KILL")
    process:wait(5)
  end
  of_prefix[prefix] = nil
end

return mock
