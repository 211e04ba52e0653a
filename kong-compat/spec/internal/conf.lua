-- What gateways of specs are started with, by the names of Kong's settings (`helpers.test_conf`).
--
-- Ports are free ones: several runs do not meet. A spec that names a port gets that.

local host = require "silverback.spec"

local function port_of(name)
  local given = os.getenv("SILVERBACK_SPEC_" .. name .. "_PORT")
  return tonumber(given) or host.free_port()
end

local function listener(ip, port, ssl, http2)
  local words = { ip .. ":" .. port }
  words[#words + 1] = ssl and "ssl" or nil
  words[#words + 1] = http2 and "http2" or nil
  return { ip = ip, port = port, ssl = ssl, http2 = http2, listener = table.concat(words, " ") }
end

-- The listeners of a setting such as `0.0.0.0:9000 http2 ssl, 127.0.0.1:9002`.
local function listeners(text)
  local found = {}
  for part in tostring(text or ""):gmatch("[^,]+") do
    local ip, port = part:match("([%w%.%[%]:]+):(%d+)")
    if ip then
      local words = part .. " "
      found[#found + 1] = listener(ip, tonumber(port), words:find("%sssl%s") ~= nil,
        words:find("%shttp2%s") ~= nil)
    end
  end
  return found
end

local prefix = os.getenv("KONG_PREFIX") or "servroot"

local proxies = {
  listener("0.0.0.0", port_of("PROXY"), false, false),
  listener("0.0.0.0", port_of("PROXY_SSL"), true, true),
  listener("0.0.0.0", port_of("PROXY_HTTP2"), false, true),
}

local function joined(list)
  local texts = {}
  for i, one in ipairs(list) do
    texts[i] = one.listener
  end
  return table.concat(texts, ", ")
end

local conf = {
  prefix = prefix,
  database = "off",
  role = "traditional",
  log_level = "debug",
  nginx_pid = prefix .. "/pids/nginx.pid",
  nginx_err_logs = prefix .. "/logs/error.log",
  nginx_acc_logs = prefix .. "/logs/access.log",
  proxy_access_log = "logs/access.log",
  proxy_error_log = "logs/error.log",
  admin_acc_logs = prefix .. "/logs/admin_access.log",
  nginx_conf = prefix .. "/nginx.conf",
  kong_env = prefix .. "/.kong_env",
  proxy_listeners = proxies,
  proxy_listen = { joined(proxies) },
  admin_listeners = { listener("127.0.0.1", port_of("ADMIN"), false, false) },
  admin_gui_listeners = {},
  status_listeners = {},
  stream_listeners = {},
  nginx_worker_processes = "1",
  loaded_plugins = {},
  loaded_vaults = {},
  plugins = { "bundled" },
  untrusted_lua = "sandbox",
  dns_resolver = {},
  anonymous_reports = false,
}

return {
  conf = conf,
  listeners = listeners,
  joined = joined,
  mock_port = function(name)
    local kept = host.note("port " .. name)
    if not kept then
      kept = tostring(host.free_port())
      host.note("port " .. name, kept)
    end
    return tonumber(kept)
  end,
}
