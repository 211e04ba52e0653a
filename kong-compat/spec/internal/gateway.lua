-- Starts and stops gateways: this binary as a process of its own, with the entities that a spec has
-- inserted as its declarative file. Logs are in the folder `logs` of its prefix.

local cjson = require "cjson"
local host = require "silverback.spec"
local settings = require "spec.internal.conf"
local DB = require "spec.internal.db"

local conf = settings.conf

-- Gateways that run, by prefix.
local running = {}

-- How long a start may take.
local START = 60

-- Settings of a Kong with a database, and others that name files of nginx.
local FOREIGN = {
  nginx_conf = true, database = true, prefix = true, role = true, cluster_cert = true,
  cluster_cert_key = true, lua_package_cpath = true, test_conf = true, pg_host = true,
}

local gateway = { running = running }

local function quoted(text)
  return "'" .. tostring(text):gsub("'", "'\\''") .. "'"
end

local function shell(command)
  return host.run(command, nil, 60)
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function read(path)
  local file = io.open(path, "r")
  local text = file and file:read("*a") or ""
  if file then
    file:close()
  end
  return text
end

function gateway.prepare_prefix(prefix)
  prefix = prefix or conf.prefix
  local code = shell("mkdir -p " .. quoted(prefix .. "/logs") .. " " .. quoted(prefix .. "/pids"))
  return code == 0 or nil, code ~= 0 and "cannot make " .. prefix or nil
end

function gateway.clean_prefix(prefix)
  prefix = prefix or conf.prefix
  -- A prefix that is something else is nobody's to delete.
  if read(prefix .. "/pids/nginx.pid") ~= "" or read(prefix .. "/logs/error.log") ~= "" then
    shell("rm -rf " .. quoted(prefix))
  end
  return true
end

local function names_of(text)
  local names = {}
  for name in tostring(text):gmatch("[^,%s]+") do
    names[#names + 1] = name
  end
  return names
end

-- The setting `plugins`: what a spec says, else everything that it has named.
local function plugins_of(env)
  local names, seen = {}, {}
  local function add(list)
    for _, name in ipairs(list) do
      if not seen[name] then
        seen[name] = true
        names[#names + 1] = name
      end
    end
  end
  add(env.plugins and names_of(env.plugins) or { "bundled" })
  if not env.plugins then
    add(DB.plugins())
  end
  return table.concat(names, ",")
end

-- The variables of a gateway.
local function variables(env, prefix)
  local values = {
    proxy_listen = settings.joined(conf.proxy_listeners), admin_listen = "off",
    status_listen = "off", nginx_worker_processes = "1", log_level = "debug",
    untrusted_lua = "sandbox", silverback_drain_secs = "1", anonymous_reports = "off",
    proxy_access_log = prefix .. "/logs/access.log", database = "off",
    -- The mock upstream has a certificate that nobody knows, as Kong's has.
    nginx_proxy_proxy_ssl_verify = "off",
  }
  for name, value in pairs(env) do
    if not FOREIGN[name] and not name:find("^pg_") and not name:find("^cassandra_") then
      values[name] = tostring(value)
    end
  end
  values.plugins = plugins_of(env)
  local path = "./spec/fixtures/custom_plugins/?.lua;./spec/fixtures/custom_plugins/?/init.lua;"
    .. package.path
  values.lua_package_path = env.lua_package_path and env.lua_package_path .. ";" .. path or path
  values.admin_listen = "off"
  local named = {}
  for name, value in pairs(values) do
    local upper = name:upper()
    named[upper:find("^SILVERBACK_") and upper or "KONG_" .. upper] = value
  end
  for name, value in pairs(require("spec.internal.misc").environment) do
    named[name] = value
  end
  return named
end

-- The file with what was inserted; JSON is YAML, too.
local function declarative(env, prefix)
  if env.declarative_config or env.declarative_config_string then
    return env.declarative_config
  end
  local path = prefix .. "/config.yml"
  write(path, cjson.encode(DB.export()))
  return path
end

-- Waits until a gateway takes requests; false if it has ended.
local function ready(one)
  local deadline = ngx.now() + START
  while ngx.now() < deadline do
    local status = one.process:status()
    if status then
      return false, status
    end
    if read(one.log):find("proxy listens on", one.from, true) or one.no_proxy then
      return true
    end
    ngx.sleep(0.02)
    ngx.update_time()
  end
  return false, "timeout"
end

local function without_colors(text)
  return (text:gsub("\27%[[%d;]*m", ""))
end

-- What a gateway said that did not start, in the way of `kong start`.
local function complaint(one)
  local said = without_colors(read(one.log):sub(one.from))
  return false, said
end

local function launch(env, prefix)
  local named = variables(env, prefix)
  local file = declarative(env, prefix)
  named.KONG_DECLARATIVE_CONFIG = nil
  named.KONG_DATABASE = nil
  local log = prefix .. "/logs/error.log"
  local one = { env = env, prefix = prefix, log = log, from = #read(log) + 1, file = file }
  one.no_proxy = (env.proxy_listen or ""):find("^off") ~= nil
  local args = { "run" }
  if not env.declarative_config_string then
    args[2] = file
  end
  one.process = host.spawn { args = args, env = named, output = log,
    unset = { "KONG_DATABASE", "KONG_PREFIX" } }
  return one
end

-- `start_kong(env, tables, preserve_prefix, fixtures)`: true, or false and what it said.
function gateway.start_kong(env, tables, preserve, fixtures)
  if tables ~= nil and type(tables) ~= "table" then
    error("arg #2 must be a list of tables to truncate", 2)
  end
  env = env or {}
  local prefix = env.prefix or conf.prefix
  if running[prefix] then
    gateway.stop_kong(prefix, true)
  end
  if not preserve then
    gateway.clean_prefix(prefix)
  end
  gateway.prepare_prefix(prefix)
  env = require("spec.internal.fixtures").apply(env, fixtures, prefix)
  require("spec.internal.mock").start()
  local one = launch(env, prefix)
  one.fixtures = fixtures
  write(prefix .. "/pids/nginx.pid", tostring(one.process.pid))
  local ok = ready(one)
  if not ok then
    return complaint(one)
  end
  running[prefix] = one
  return true, "", without_colors(read(one.log):sub(one.from))
end

-- `stop_kong(prefix, preserve_prefix, preserve_dc, signal)`. The logs stay until the next start:
-- who looks for an error finds them.
function gateway.stop_kong(prefix, _, _, signal)
  prefix = prefix or conf.prefix
  require("spec.internal.mock").stop_blocks(prefix)
  local one = running[prefix]
  if not one then
    return true
  end
  running[prefix] = nil
  one.process:signal(signal or "TERM")
  if not one.process:wait(15) then
    one.process:signal("KILL")
    one.process:wait(5)
  end
  os.remove(prefix .. "/pids/nginx.pid")
  return true
end
gateway.cleanup_kong = gateway.stop_kong
gateway.kill_all = gateway.stop_kong

function gateway.restart_kong(env, tables, fixtures)
  env = env or {}
  gateway.stop_kong(env.prefix, true, true)
  return gateway.start_kong(env, tables, true, fixtures)
end

-- The line that says that this text is in force. A gateway also loads a file by itself, some time
-- after it has changed: such a line tells of an earlier text. The fingerprint is that of
-- `src/config/texts.rs`.
local function loaded_line(text)
  local length, bytes = #text, {}
  for i = 1, 8 do
    bytes[i] = string.char(length % 256)
    length = math.floor(length / 256)
  end
  local digest = require("resty.sha256"):new()
  digest:update(table.concat(bytes))
  digest:update(text)
  local hash = require("resty.string").to_hex(digest:final())
  return ('configuration loaded hash="%s"'):format(hash:sub(1, 32))
end

-- Loads the configuration anew, with what was inserted since, and waits until it is in force.
function gateway.reload_kong(_, _, prefix)
  local one = running[prefix or conf.prefix]
  if not one then
    return false, "no gateway runs here"
  end
  local line = "configuration loaded"
  if not (one.env.declarative_config or one.env.declarative_config_string) then
    local text = cjson.encode(DB.export())
    write(one.file .. ".new", text)
    assert(os.rename(one.file .. ".new", one.file))
    line = text:find("${{", 1, true) and line or loaded_line(text)
  end
  local from = #read(one.log) + 1
  one.process:signal("HUP")
  local deadline = ngx.now() + START
  while ngx.now() < deadline do
    local said = without_colors(read(one.log):sub(from))
    if said:find(line, 1, true) then
      return true
    elseif said:find("configuration not loaded", 1, true) then
      return false, said
    end
    ngx.sleep(0.02)
    ngx.update_time()
  end
  return false, "timeout"
end

function gateway.get_running_conf(prefix)
  prefix = prefix or conf.prefix
  local one = running[prefix]
  if not one then
    return nil, "no gateway runs at " .. prefix
  end
  local values = setmetatable({}, { __index = conf })
  for name, value in pairs(one.env) do
    values[name] = value
  end
  values.prefix, values.nginx_err_logs = prefix, prefix .. "/logs/error.log"
  values.nginx_acc_logs = prefix .. "/logs/access.log"
  values.nginx_pid = prefix .. "/pids/nginx.pid"
  return values
end

function gateway.clean_logfile(path)
  path = path or (gateway.get_running_conf() or conf).nginx_err_logs
  local file = io.open(path, "r")
  if file then
    file:close()
    write(path, "")
  end
end

function gateway.signal(prefix, signal)
  local one = running[prefix or conf.prefix]
  return one and one.process:signal((signal:gsub("^%-", ""):gsub("^SIG", ""))) or false
end

-- `execute(command)`: whether it went well, its status, its two outputs.
function gateway.execute(command)
  local code, out, err = host.run(command, nil, 120)
  return code == 0, code, out, err
end

-- `kong_exec("check ...")`: the same command of this binary.
function gateway.kong_exec(command, env)
  local assigns = {}
  for name, value in pairs(env and variables(env, env.prefix or conf.prefix) or {}) do
    assigns[#assigns + 1] = name .. "=" .. quoted(value)
  end
  return gateway.execute(table.concat(assigns, " ") .. " " .. quoted(host.program) .. " "
    .. command)
end

return gateway
