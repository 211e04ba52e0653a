-- Spans and log lines as OTLP sends them.

require "kong.observability.otlp.proto"
local pb = require "pb"

local SCOPE = { name = "kong-internal", version = "0.1.0" }

local WHOLE = { ["http.status_code"] = true }
local NAMES = { string = "string_value", number = "double_value", boolean = "bool_value" }

local value_of

local function attributes_of(attributes)
  if type(attributes) ~= "table" then
    error("invalid attributes", 3)
  end
  local list = {}
  for key, value in pairs(attributes) do
    list[#list + 1] = { key = key, value = value_of(key, value) }
  end
  return list
end

function value_of(key, value)
  if type(value) ~= "table" then
    local name = WHOLE[key] and "int_value" or NAMES[type(value)]
    return name and { [name] = value } or {}
  elseif not table.isarray(value) then
    return { kvlist_value = { values = attributes_of(value) } }
  end
  local values = {}
  for i, item in ipairs(value) do
    values[i] = value_of(nil, item)
  end
  return { array_value = { values = values } }
end

-- An id with as many bytes as it must have: the last ones, or zeros in front.
local function sized(length)
  return function(id)
    return #id >= length and id:sub(-length) or ("\0"):rep(length - #id) .. id
  end
end

local _M = { to_ot_trace_id = sized(16) }
local to_span_id = sized(8)

local function events_of(events)
  local list = {}
  for i, event in ipairs(events) do
    list[i] = {
      name = event.name,
      time_unix_nano = event.time_ns,
      attributes = event.attributes and attributes_of(event.attributes),
    }
  end
  return list
end

function _M.transform_span(span)
  assert(type(span) == "table")
  return {
    trace_id = _M.to_ot_trace_id(span.trace_id),
    span_id = span.span_id,
    parent_span_id = span.parent_id and to_span_id(span.parent_id) or "",
    name = span.name,
    kind = span.kind or 0,
    start_time_unix_nano = span.start_time_ns,
    end_time_unix_nano = span.end_time_ns,
    attributes = span.attributes and attributes_of(span.attributes),
    events = span.events and events_of(span.events),
    status = span.status and { code = span.status },
  }
end

-- The resource that sends: this gateway, with what the plugin's configuration adds.
local function resource_of(attributes)
  local all = {
    ["service.name"] = "kong",
    ["service.instance.id"] = kong.node.get_id(),
    ["service.version"] = kong.version,
  }
  for key, value in pairs(attributes or {}) do
    all[key] = value
  end
  return { attributes = attributes_of(all) }
end

function _M.encode_traces(spans, attributes)
  return pb.encode("opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest", {
    resource_spans = {
      { resource = resource_of(attributes), scope_spans = { { scope = SCOPE, spans = spans } } },
    },
  })
end

function _M.encode_logs(records, attributes)
  return pb.encode("opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest", {
    resource_logs = {
      {
        resource = resource_of(attributes),
        scope_logs = { { scope = SCOPE, log_records = records } },
      },
    },
  })
end

local SEVERITIES = {
  [ngx.DEBUG] = { 5, "DEBUG" }, [ngx.INFO] = { 9, "INFO" }, [ngx.NOTICE] = { 11, "NOTICE" },
  [ngx.WARN] = { 13, "WARN" }, [ngx.ERR] = { 17, "ERR" }, [ngx.CRIT] = { 19, "CRIT" },
  [ngx.ALERT] = { 21, "ALERT" }, [ngx.EMERG] = { 23, "EMERG" },
}

function _M.prepare_logs(logs, trace_id, flags)
  for _, record in ipairs(logs) do
    local severity = SEVERITIES[record.log_level] or {}
    record.severity_number, record.severity_text = severity[1], severity[2]
    record.log_level = nil
    record.trace_id, record.flags = trace_id, flags
    record.attributes = attributes_of(record.attributes)
    record.body = { string_value = record.body }
  end
  return logs
end

return _M
