-- The spans of the gateway itself, for whom `tracing_instrumentations` asks: `kong` for the request
-- and `kong.balancer` for each attempt upstream, and `kong.internal.request` for calls of plugins.

local host = require "silverback.host"

local SERVER, CLIENT, FAILED = 2, 3, 2

local _M = {}

local wanted

-- Whether there are spans of a kind.
local function has(kind)
  return wanted.all or wanted[kind]
end

local function context()
  return require "kong.observability.tracing.tracing_context"
end

-- The first of a request's spans, and the one that its headers will name.
function _M.begin(ctx)
  local tracer = kong.tracing
  local request, client = kong.request, kong.client
  local scheme = request.get_scheme()
  local root = tracer.start_span("kong", {
    span_kind = SERVER,
    start_time_ns = ngx.req.start_time() * 1e9,
    attributes = {
      ["http.method"] = request.get_method(),
      ["http.url"] = scheme .. "://" .. (ngx.var.host or "") .. ngx.var.request_uri,
      ["http.host"] = ngx.var.host,
      ["http.scheme"] = scheme,
      ["http.flavor"] = ("%.1f"):format(request.get_http_version()),
      ["http.client_ip"] = client.get_forwarded_ip(),
      ["net.peer.ip"] = client.get_ip(),
      ["kong.request.id"] = ngx.var.kong_request_id or ngx.var.request_id,
    },
  })
  root.is_of_gateway = true
  root.trace_id, root.span_id = host.trace_root(root.trace_id, root.span_id)
  context().set_raw_trace_id(root.trace_id, ctx)
  tracer.set_active_span(root)
  if has "balancer" then
    local span = tracer.create_span(nil, { span_kind = CLIENT, parent = root })
    context().set_unlinked_span("balancer", span, ctx)
  end
end

local function connect_times()
  local times = {}
  for part in (ngx.var.upstream_connect_time or ""):gmatch "[^, ]+" do
    times[#times + 1] = (tonumber(part) or 0) * 1e9
  end
  return times
end

-- A span for each attempt; the one that the upstream was told of is the last.
local function attempts(tracer, ctx)
  local tries = kong.log.serialize().tries or {}
  local announced = context().get_unlinked_span("balancer", ctx)
  local times = connect_times()
  for i, try in ipairs(tries) do
    local options = {
      span_kind = CLIENT,
      start_time_ns = try.balancer_start_ns,
      attributes = {
        try_count = i, ["net.peer.ip"] = try.ip, ["net.peer.port"] = try.port,
        ["net.peer.name"] = ngx.var.upstream_host,
      },
    }
    local failed, span = try.state ~= nil
    local is_last = i == #tries and not failed and announced and not announced.linked
    if is_last then
      span = tracer.link_span(tracer, announced, "kong.balancer", options)
      span.is_of_gateway = true
      span:finish()
    else
      options.parent = tracer.get_root_span()
      span = tracer.start_span("kong.balancer", options)
      span.is_of_gateway = true
      local took = (try.balancer_latency_ns or 0) + (times[i] or 0)
      span:finish(try.balancer_start_ns + took)
    end
    if failed then
      span:set_attribute("http.status_code", try.code)
      span:set_status(FAILED)
    end
  end
end

-- What is known at the end.
local function complete()
  local tracer, ctx = kong.tracing, ngx.ctx
  local root = tracer.get_root_span()
  if not root or root.end_time_ns then
    return
  end
  local route = ctx.route
  root:set_attribute("http.status_code", ngx.status)
  root:set_attribute("http.route", route and route.paths and route.paths[1] or "")
  if has "balancer" then
    attempts(tracer, ctx)
  end
  root:finish()
end

-- `resty.http` tells of its calls.
local function watch_calls()
  local http = require "resty.http"
  local request_uri = http.request_uri
  function http.request_uri(self, uri, params)
    local attributes = {
      ["http.url"] = uri,
      ["http.method"] = params and params.method or "GET",
      ["http.flavor"] = params and params.version or "1.1",
      ["http.user_agent"] = params and params.headers and params.headers["User-Agent"]
        or http._USER_AGENT,
    }
    local span = kong.tracing.start_span("kong.internal.request", {
      span_kind = CLIENT, attributes = attributes,
    })
    local res, err = request_uri(self, uri, params)
    if res then
      span:set_attribute("http.status_code", res.status)
    else
      span:record_error(err)
    end
    span:finish()
    return res, err
  end
end

-- The phases of requests.
local REQUEST = {
  rewrite = true, access = true, content = true, header_filter = true, body_filter = true,
  log = true,
}

-- The first look at spans of a request makes them.
local function first(tracer, f)
  return function(...)
    if REQUEST[ngx.get_phase()] and not rawget(ngx.ctx, tracer.spans_table_key) then
      tracer.init_spans()
      _M.begin(ngx.ctx)
    end
    return f(...)
  end
end

-- Has the requests of this worker have spans, if the settings say so.
function _M.install()
  wanted = {}
  for _, kind in ipairs(kong.configuration.tracing_instrumentations) do
    wanted[kind] = true
  end
  local tracer = kong.tracing.new("instrument", {
    sampling_rate = kong.configuration.tracing_sampling_rate,
  })
  local process = tracer.process_span
  function tracer.process_span(...)
    complete()
    return process(...)
  end
  kong.tracing.set_global_tracer(tracer)
  tracer.start_span = first(tracer, tracer.start_span)
  -- Headers are written before anybody has asked the tracer.
  local propagation = require "kong.observability.tracing.propagation"
  propagation.propagate = first(tracer, propagation.propagate)
  if has "http_client" then
    watch_calls()
  end
end

return _M
