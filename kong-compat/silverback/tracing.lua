-- `kong.tracing`: spans. By default nobody collects them, and what a plugin does with one has no
-- effect; a tracer that a plugin makes for itself keeps the spans of a request.

local host = require "silverback.host"

local function nothing() end

local KINDS = {
  span_kind = { "number", "invalid start kind" },
  start_time_ns = { "number", "invalid start time" },
  should_sample = { "boolean", "invalid sampled" },
  attributes = { "table", "invalid attributes" },
}

-- Phases in which there may be spans.
local PHASES = {
  ssl_cert = true, rewrite = true, access = true, header_filter = true, body_filter = true,
  log = true, content = true,
}

local NO_SPAN = setmetatable({
  is_recording = false, finish = nothing, set_attribute = nothing, add_event = nothing,
  record_error = nothing, set_status = nothing,
  each_baggage_item = function() return nothing end,
}, { __newindex = nothing })

local function now_ns()
  return ngx.now() * 1e9
end

local Span = {}
Span.__index = Span

function Span:finish(end_time_ns)
  if self.end_time_ns ~= nil then
    return
  end
  if end_time_ns ~= nil and type(end_time_ns) ~= "number" then
    error("invalid span end time", 2)
  end
  if end_time_ns and end_time_ns < self.start_time_ns then
    local duration = end_time_ns - self.start_time_ns
    ngx.log(ngx.ERR, "invalid span duration: ", duration, " for span: ", self.name)
    return
  end
  self.end_time_ns = end_time_ns or now_ns()
  if self.tracer == kong.tracing and not self.is_of_gateway then
    host.keep_span(self)
  end
  if self.active and self.tracer.active_span() == self then
    self.tracer.set_active_span(self.parent)
    self.active = nil
  end
end

function Span:set_attribute(key, value)
  if type(key) ~= "string" then
    error("invalid key", 2)
  end
  local kind = type(value)
  if kind == "function" or kind == "userdata" or kind == "thread" or kind == "cdata" then
    ngx.log(ngx.ERR, debug.traceback("invalid span attribute value type: " .. kind, 2))
  end
  self.attributes = self.attributes or {}
  self.attributes[key] = value
end

function Span:add_event(name, attributes, time_ns)
  if type(name) ~= "string" then
    error("invalid name", 2)
  elseif attributes ~= nil and type(attributes) ~= "table" then
    error("invalid attribute", 2)
  end
  self.events = self.events or { [0] = 0 }
  local count = self.events[0] + 1
  self.events[0] = count
  self.events[count] = { name = name, time_ns = time_ns or now_ns(), attributes = attributes }
end

function Span:record_error(err)
  self:add_event("exception", { ["exception.message"] = tostring(err) })
end

function Span:set_status(status)
  if type(status) ~= "number" then
    error("invalid status", 2)
  end
  self.status = status
end

function Span:each_baggage_item()
  return nothing
end

Span.release = nothing

-- Whether a trace of this id is taken, of so many; a trace is judged alike everywhere.
local function sampled(trace_id, rate)
  if type(rate) ~= "number" then
    return nil, "invalid fraction"
  elseif rate >= 1 then
    return true
  elseif rate <= 0 then
    return false
  elseif #trace_id < 8 then
    return nil, "sampling needs trace ID to be longer than 8 bytes to work"
  end
  local number = 0
  for i = 8, 1, -1 do
    number = number * 256 + trace_id:byte(i)
  end
  return number < rate * 2 ^ 64
end

local function check(options)
  if options == nil then
    return {}
  elseif type(options) ~= "table" then
    error("invalid options type", 3)
  end
  for name, kind in pairs(KINDS) do
    if options[name] ~= nil and type(options[name]) ~= kind[1] then
      error(kind[2], 3)
    end
  end
  return options
end

local Tracer = {}
Tracer.__index = Tracer

local function create(tracer, options)
  local parent = options.parent or tracer and tracer.active_span()
  local trace_id = parent and parent.trace_id or options.trace_id or host.random_bytes(16)
  local should_sample = options.should_sample
  if parent and parent.should_sample ~= nil then
    should_sample = parent.should_sample
  elseif should_sample == nil then
    should_sample = tracer ~= nil and (tracer.sampler(trace_id) or false)
  end
  return setmetatable({
    tracer = tracer, parent = parent, trace_id = trace_id, span_id = host.random_bytes(8),
    parent_id = parent and parent.span_id or options.parent_id,
    kind = options.span_kind or 1, should_sample = should_sample,
  }, Span)
end

local function link(tracer, span, name, options)
  span.tracer = span.tracer or tracer
  span.start_time_ns = options.start_time_ns or now_ns()
  span.attributes = options.attributes
  span.name, span.linked = name, true
  local spans = tracer.get_spans()
  spans[0] = spans[0] + 1
  spans[spans[0]] = span
  return span
end

local no_tracer
local known = setmetatable({}, { __mode = "v" })

-- What a tracer does with the spans of the running request.
local function add_spans(self)
  function self.active_span()
    return PHASES[ngx.get_phase()] and ngx.ctx[self.active_span_key] or nil
  end
  function self.set_active_span(span)
    if PHASES[ngx.get_phase()] then
      if span then
        span.active = true
      end
      ngx.ctx[self.active_span_key] = span
    end
  end
  function self.start_span(name, options)
    if not PHASES[ngx.get_phase()] then
      return NO_SPAN
    elseif type(name) ~= "string" or name == "" then
      error("invalid span name", 2)
    end
    options = check(options)
    return link(self, create(self, options), name, options)
  end
  function self.create_span(tracer, options)
    return create(tracer, check(options))
  end
  function self.link_span(tracer, span, name, options)
    if tracer and type(tracer) ~= "table" then
      error("invalid tracer", 2)
    end
    return link(tracer or self, span, name, check(options))
  end
  function self.init_spans()
    local spans = { [0] = 0 }
    ngx.ctx[self.spans_table_key] = spans
    return spans
  end
  function self.get_spans()
    return ngx.ctx[self.spans_table_key] or self.init_spans()
  end
  function self.get_root_span()
    return self.get_spans()[1]
  end
end

-- `kong.tracing.new(name, options)`: a tracer; there is one for a name.
local function new(name, options)
  name, options = name or "default", options or {}
  if options.noop then
    return no_tracer
  end
  local namespace = options.namespace or "KONG"
  local key = namespace .. "_" .. name
  if known[key] then
    return known[key]
  end
  local rate = options.sampling_rate or 1.0
  local self = setmetatable({
    name = name, active_span_key = namespace .. "_active_span",
    spans_table_key = namespace .. "_SPANS",
    sampler = function(trace_id, other) return sampled(trace_id, other or rate) end,
  }, Tracer)
  add_spans(self)
  function self.process_span(processor, ...)
    require("silverback.log_host").check_log_phase()
    if type(processor) ~= "function" then
      error("processor must be a function", 2)
    end
    for _, span in ipairs(self.get_spans()) do
      if span.tracer and span.tracer.name == name then
        processor(span, ...)
      end
    end
  end
  function self:set_should_sample(should_sample)
    for _, span in ipairs(self.get_spans()) do
      if span.is_recording ~= false then
        span.should_sample = should_sample
      end
    end
  end
  function self:get_sampling_decision(parent_should_sample, plugin_rate)
    local root = self.get_root_span()
    if not root or (root.attributes or {})["kong.propagation_only"] then
      return false
    elseif parent_should_sample == false then
      return false
    end
    local context = require "kong.observability.tracing.tracing_context"
    local trace_id = context.get_raw_trace_id(ngx.ctx) or root.trace_id
    return (self.sampler(trace_id, plugin_rate)) == true
  end
  known[key] = self
  return self
end

Tracer.new = new
Tracer.__call = function(_, ...) return new(...) end

local function set_global_tracer(tracer)
  local is_tracer = type(tracer) == "table"
    and (getmetatable(tracer) == Tracer or tracer.name == "noop")
  if not is_tracer then
    error("invalid tracer", 2)
  end
  kong.tracing = tracer
end
Tracer.set_global_tracer = set_global_tracer

no_tracer = { name = "noop", spans_table_key = "noop", new = new,
  set_global_tracer = set_global_tracer,
  start_span = function() return NO_SPAN end,
  create_span = function() return NO_SPAN end,
}
for _, name in ipairs {
  "get_spans", "get_root_span", "init_spans", "link_span", "active_span", "set_active_span",
  "process_span", "set_should_sample", "get_sampling_decision",
} do
  no_tracer[name] = nothing
end

return setmetatable(no_tracer, { __call = Tracer.__call, __newindex = nothing })
