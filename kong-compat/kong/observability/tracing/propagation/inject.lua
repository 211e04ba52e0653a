-- Headers that tell the upstream of a trace, in the formats that Kong writes.

local decimal = require "silverback.decimal"
local to_hex = require("resty.string").to_hex
local to_id_size = require("kong.observability.tracing.propagation.utils").to_id_size

local function hex(id)
  return id and to_hex(id) or nil
end

local function digit(flag)
  return flag and "1" or "0"
end

local function with_baggage(headers, prefix, baggage)
  for key, value in pairs(baggage or {}) do
    headers[prefix .. key] = ngx.escape_uri(value)
  end
  return headers
end

-- Formats: how many bytes an id of a trace may have, the preferred number first; what has to be
-- there; the headers; and how the id is shown.
local writers = {}

writers.w3c = {
  sizes = { 16 }, needs = { "trace_id", "span_id" },
  headers = function(trace)
    local flags = trace.should_sample and "01" or "00"
    return { traceparent = ("00-%s-%s-%s"):format(hex(trace.trace_id), hex(trace.span_id), flags) }
  end,
}

writers.b3 = {
  sizes = { 16, 8 },
  headers = function(trace)
    local headers = {}
    if trace.trace_id and trace.span_id then
      headers["x-b3-traceid"] = hex(trace.trace_id)
      headers["x-b3-spanid"] = hex(trace.span_id)
      headers["x-b3-parentspanid"] = hex(trace.parent_id)
    end
    if trace.flags then
      headers["x-b3-flags"] = trace.flags
    else
      headers["x-b3-sampled"] = digit(trace.should_sample)
    end
    return headers
  end,
  shown = function(id) return { b3 = hex(id) or "" } end,
}

writers["b3-single"] = {
  sizes = { 16, 8 },
  headers = function(trace)
    local flag
    if trace.flags == "1" then
      flag = "d"
    elseif trace.should_sample ~= nil then
      flag = digit(trace.should_sample)
    end
    if not trace.trace_id or not trace.span_id then
      return { b3 = flag or "0" }
    end
    local parts = { hex(trace.trace_id), hex(trace.span_id) }
    parts[#parts + 1] = flag
    parts[#parts + 1] = hex(trace.parent_id)
    return { b3 = table.concat(parts, "-") }
  end,
  shown = writers.b3.shown,
}

writers.jaeger = {
  sizes = { 16, 8 }, needs = { "trace_id", "span_id" },
  headers = function(trace)
    local value = ("%s:%s:%s:0%s"):format(hex(trace.trace_id), hex(trace.span_id),
      hex(trace.parent_id) or "0", digit(trace.should_sample))
    return with_baggage({ ["uber-trace-id"] = value }, "uberctx-", trace.baggage)
  end,
}

writers.ot = {
  sizes = { 8, 16 }, needs = { "trace_id", "span_id" },
  headers = function(trace)
    local headers = {
      ["ot-tracer-traceid"] = hex(trace.trace_id), ["ot-tracer-spanid"] = hex(trace.span_id),
    }
    if trace.should_sample ~= nil then
      headers["ot-tracer-sampled"] = digit(trace.should_sample)
    end
    return with_baggage(headers, "ot-baggage-", trace.baggage)
  end,
}

writers.datadog = {
  sizes = { 8 },
  headers = function(trace)
    local headers = {
      ["x-datadog-trace-id"] = trace.trace_id and decimal.from_bytes(trace.trace_id),
      ["x-datadog-parent-id"] = trace.span_id and decimal.from_bytes(trace.span_id),
    }
    if trace.should_sample ~= nil then
      headers["x-datadog-sampling-priority"] = digit(trace.should_sample)
    end
    return headers
  end,
  shown = function(id) return { datadog = id and decimal.from_bytes(id) } end,
}

writers.aws = {
  sizes = { 16 }, needs = { "trace_id", "span_id" },
  headers = function(trace)
    local id = hex(trace.trace_id)
    return { ["x-amzn-trace-id"] = ("Root=1-%s-%s;Parent=%s;Sampled=%s"):format(
      id:sub(1, 8), id:sub(9), hex(trace.span_id), digit(trace.should_sample)) }
  end,
}

writers.gcp = {
  sizes = { 16 }, needs = { "trace_id", "span_id" },
  headers = function(trace)
    return { ["x-cloud-trace-context"] = ("%s/%s;o=%s"):format(
      hex(trace.trace_id), decimal.from_bytes(trace.span_id), digit(trace.should_sample)) }
  end,
}

writers.instana = {
  sizes = { 16, 8 },
  headers = function(trace)
    local headers = {
      ["x-instana-t"] = hex(trace.trace_id), ["x-instana-s"] = hex(trace.span_id),
    }
    if trace.should_sample ~= nil then
      headers["x-instana-l"] = digit(trace.should_sample)
    end
    return headers
  end,
}

local function missing(needs, trace)
  for _, name in ipairs(needs or {}) do
    if trace[name] == nil then
      return name
    end
  end
end

-- Sets the headers of a format. Returns how it shows the id; nil and why not.
return function(format, trace)
  local writer = writers[format]
  local lacks = missing(writer.needs, trace)
  if lacks then
    return nil, format .. " injector context is invalid: field " .. lacks
      .. " not found in context"
  end
  local size = writer.sizes[1]
  for _, allowed in ipairs(writer.sizes) do
    size = allowed == trace.trace_id_original_size and allowed or size
  end
  trace.trace_id = to_id_size(trace.trace_id, size)
  trace.span_id = to_id_size(trace.span_id, 8)
  trace.parent_id = to_id_size(trace.parent_id, 8)
  for name, value in pairs(writer.headers(trace)) do
    kong.service.request.set_header(name, value)
  end
  return writer.shown and writer.shown(trace.trace_id) or { [format] = hex(trace.trace_id) }
end
