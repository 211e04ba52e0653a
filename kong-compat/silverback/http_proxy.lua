-- Proxies of `resty.http`: which one is for a host, and tunnels through them (CONNECT).

local _M = {}

-- The proxy for a host, or nil: the options name it, and hosts that it is not for.
function _M.uri(options, scheme, host)
  local uri = options[scheme .. "_proxy"]
  if not uri or uri == "" then
    return nil
  end
  local excluded = options.no_proxy
  if excluded == "*" then
    return nil
  end
  for name in (excluded or ""):gmatch("[^,]+") do
    name = name:match("^%s*%.?(.-)%s*$")
    if name ~= "" and (host == name or host:sub(-#name - 1) == "." .. name) then
      return nil
    end
  end
  return uri
end

-- The proxy of a client for a host, by the client's own options.
function _M.of_client(httpc, scheme, host)
  return httpc.proxy_opts and _M.uri(httpc.proxy_opts, scheme, host)
end

-- Options with what the headers of a request say to the proxy.
function _M.authorized(options, headers)
  local authorization = options and headers and headers["Proxy-Authorization"]
  if authorization then
    options = table.clone(options)
    options.http_proxy_authorization = authorization
    options.https_proxy_authorization = authorization
  end
  return options
end

-- A tunnel through the proxy that the socket leads to.
function _M.tunnel(httpc, host, port, authorization)
  local target = host .. ":" .. port
  local res, err = httpc:request {
    method = "CONNECT",
    path = target,
    headers = { Host = target, ["Proxy-Authorization"] = authorization },
  }
  if not res then
    return nil, "failed to issue CONNECT to proxy: " .. err
  end
  if res.status < 200 or res.status > 299 then
    return nil, "failed to establish a tunnel through a proxy: " .. res.status
  end
  return true
end

-- The first step of a connection through a proxy, for who takes the steps one by one.
function _M.connect(httpc, uri, scheme, host, port, authorization)
  local parsed, err = httpc:parse_uri(uri, false)
  if not parsed then
    return nil, err
  end
  if parsed[1] ~= "http" then
    return nil, "protocol " .. parsed[1] .. " not supported for proxy connections"
  end
  local ok
  ok, err = httpc:tcp_only_connect(parsed[2], parsed[3])
  if ok and scheme == "https" then
    local through
    through, err = _M.tunnel(httpc, host, port, authorization)
    if not through then
      return nil, (err:gsub("^failed to issue CONNECT to proxy: ", ""))
    end
  end
  return ok, err
end

return _M
