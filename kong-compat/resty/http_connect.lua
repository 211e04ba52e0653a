-- `httpc:connect{ scheme, host, port, ... }`: TCP, a proxy in between if there is one for the host,
-- TLS, and a pool for connections that are alike in all of that.

local proxy = require "silverback.http_proxy"

local function port_of(scheme)
  return scheme == "https" and 443 or scheme == "http" and 80 or nil
end

local function with_port(host, port, scheme)
  return port == port_of(scheme) and host or host .. ":" .. port
end

-- Where TCP leads to, and what is to be done after.
local function route(httpc, options)
  local scheme, host = options.scheme, options.host
  local way = { host = host, port = options.port or port_of(scheme) }
  local proxies = options.proxy_opts or httpc.proxy_opts
  local uri = scheme and proxies and proxy.uri(proxies, scheme, host)
  if not uri then
    return way
  end
  local parsed, err = httpc:parse_uri(uri, false)
  if not parsed then
    return nil, "uri parse error: " .. err
  end
  if parsed[1] ~= "http" then
    return nil, "protocol " .. tostring(parsed[1]) .. " not supported for proxy connections"
  end
  way.proxy, way.target_host, way.target_port = uri, host, way.port
  way.host, way.port = parsed[2], parsed[3]
  way.authorization = proxies[scheme .. "_proxy_authorization"]
  if scheme == "http" then
    way.prefix = "http://" .. with_port(host, way.target_port, "http")
  else
    way.tunnels = true
  end
  return way
end

-- Connections with the same name may serve each other's requests. A client certificate is told by
-- its fingerprint.
local function pool_name(options, way, server_name, verify)
  if options.pool then
    return options.pool
  end
  local is_tls = options.scheme == "https"
  local cert = options.ssl_client_cert
  return table.concat({
    options.scheme or "", options.host, tostring(way.target_port or way.port or ""),
    tostring(is_tls), is_tls and tostring(verify) or "", is_tls and server_name or "",
    way.proxy or "", way.tunnels and way.authorization or "",
    cert and tostring(cert) or "",
  }, ":")
end

local function handshake(httpc, options, server_name, verify)
  return httpc.sock:sslhandshake(options.ssl_reused_session, server_name, verify,
    options.ssl_send_status_req)
end

local function open(httpc, way, name, options)
  local pool = { pool = name, pool_size = options.pool_size, backlog = options.backlog }
  local ok, err
  if way.port then
    ok, err = httpc.sock:connect(way.host, way.port, pool)
  else
    ok, err = httpc.sock:connect(way.host, pool)
  end
  if not ok and way.proxy then
    local place = way.host .. ":" .. way.port
    return nil, "failed to connect to: " .. place .. ": " .. tostring(err)
  end
  return ok, err
end

return function(httpc, options)
  if not httpc.sock then
    return nil, "not initialized"
  end
  if not options.scheme and options.port then
    return nil, "'scheme' is required when providing a port"
  end
  local way, err = route(httpc, options)
  if not way then
    return nil, err
  end
  local is_tls = options.scheme == "https"
  local verify = options.ssl_verify ~= false
  local server_name = options.ssl_server_name
  if is_tls and server_name == nil then
    server_name = options.host
  end
  local ok
  if is_tls and options.ssl_client_cert then
    -- First, so that a kept connection is not for who has the certificate without its key.
    ok, err = httpc.sock:setclientcert(options.ssl_client_cert, options.ssl_client_priv_key)
    if not ok then
      return nil, "could not set client certificate: " .. err
    end
  end
  ok, err = open(httpc, way, pool_name(options, way, server_name, verify), options)
  if not ok then
    return nil, err
  end
  httpc.host, httpc.port, httpc.ssl = options.host, way.target_port or way.port, is_tls
  httpc.keepalive, httpc.path_prefix, httpc.http_proxy_auth = true, nil, nil
  local session
  if (httpc.sock:getreusedtimes() or 0) == 0 then
    if way.tunnels then
      ok, err = proxy.tunnel(httpc, way.target_host, way.target_port, way.authorization)
      if not ok then
        httpc:close()
        return nil, err
      end
    end
    if is_tls then
      session, err = handshake(httpc, options, server_name, verify)
      if not session then
        httpc:close()
        return nil, err
      end
    end
  end
  httpc.keepalive = true
  if way.prefix then
    httpc.path_prefix, httpc.http_proxy_auth = way.prefix, way.authorization
  end
  return true, nil, session
end
