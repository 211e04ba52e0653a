-- The trace that a client's headers name, in the formats that Kong reads.
--
-- Each reader gets the headers and returns what it found, with ids as bytes; nil where there is
-- nothing to be read. The warnings are Kong's.

local decimal = require "silverback.decimal"
local strip = require "kong.tools.string".strip
local utils = require "kong.observability.tracing.propagation.utils"

local from_hex = utils.from_hex

local readers = {}

-- Headers of which a format needs one.
local HEADERS = {
  w3c = { "traceparent" },
  b3 = {
    "b3", "tracestate", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled",
    "x-b3-flags",
  },
  jaeger = { "uber-trace-id" },
  ot = { "ot-tracer-sampled", "ot-tracer-traceid", "ot-tracer-spanid" },
  datadog = { "x-datadog-trace-id", "x-datadog-parent-id", "x-datadog-sampling-priority" },
  aws = { "x-amzn-trace-id" },
  gcp = { "x-cloud-trace-context" },
  instana = { "x-instana-t", "x-instana-s", "x-instana-l" },
}

local function ignore(what)
  kong.log.warn(what .. "; ignoring.")
end

local function is_zero(hex)
  return hex:find("^0+$") ~= nil
end

function readers.w3c(headers)
  local text = headers.traceparent
  if type(text) ~= "string" or text == "" then
    return
  end
  local version, trace, parent, flags = text:match("^(%x+)%-(%x+)%-(%x+)%-(%x+)$")
  if not version then
    return ignore "invalid W3C traceparent header"
  elseif version ~= "00" then
    return ignore "invalid W3C Trace Context version"
  elseif #trace ~= 32 or is_zero(trace) then
    return ignore "invalid W3C trace context trace ID"
  elseif #parent ~= 16 or is_zero(parent) then
    return ignore "invalid W3C trace context parent ID"
  elseif #flags ~= 2 then
    return ignore "invalid W3C trace context flags"
  end
  local number = tonumber(flags, 16)
  return {
    trace_id = from_hex(trace), span_id = from_hex(parent), should_sample = number % 2 == 1,
    w3c_flags = number,
  }
end

-- What is said of sampling: true, false, or nil if nothing or nonsense is.
local function sampled(value, header)
  if value == "1" or value == "true" then
    return true
  elseif value == "0" or value == "false" then
    return false
  elseif value ~= nil then
    ignore(header .. " header invalid")
  end
end

-- An id in a header of its own; false if it is none.
local function id_of(headers, name, long)
  local value = headers[name]
  if value == nil then
    return nil
  end
  local right = type(value) == "string" and not value:find("%X")
    and (#value == 16 or long and #value == 32)
  if not right then
    ignore(name .. " header invalid")
    return false
  end
  return value
end

-- The text of B3's single header: its own, or in `tracestate`.
local function b3_text(headers)
  if headers.b3 then
    return headers.b3
  end
  local states = headers.tracestate
  for _, state in ipairs(type(states) == "table" and states or { states }) do
    local text = state:match("^b3=(.+)$")
    if text then
      return text
    end
  end
end

local function b3_single(headers)
  local text = b3_text(headers)
  if type(text) ~= "string" then
    return nil
  end
  local found = {}
  local flag = #text == 1 and text:match("^[01d]$")
  if not flag then
    local trace, span, parent
    trace, span, flag, parent = text:match("^(%x+)%-(" .. ("%x"):rep(16) .. ")%-?([01d]?)%-?(%x*)$")
    if not trace or #trace ~= 16 and #trace ~= 32 or parent ~= "" and #parent ~= 16 then
      ignore "b3 single header invalid"
      return found
    end
    found.trace, found.span, found.parent = trace, span, parent ~= "" and parent or nil
  end
  if flag == "0" then
    found.sample = false
  elseif flag ~= "" then
    found.sample = true
    found.flags = flag == "d" and "1" or nil
  end
  return found
end

local function b3_multi(headers)
  local found = { flags = headers["x-b3-flags"] }
  found.sample = sampled(headers["x-b3-sampled"], "x-b3-sampled")
  if found.flags == "1" then
    found.sample = true
  elseif found.flags ~= nil then
    ignore "x-b3-flags header invalid"
  end
  local trace = id_of(headers, "x-b3-traceid", true)
  local span = id_of(headers, "x-b3-spanid")
  local parent = id_of(headers, "x-b3-parentspanid")
  if trace ~= false and span ~= false and parent ~= false then
    found.trace, found.span, found.parent = trace, span, parent
  end
  return found
end

function readers.b3(headers)
  local single = b3_single(headers)
  local one, many = single or {}, b3_multi(headers)
  local function either(name)
    if one[name] ~= nil then
      return one[name]
    end
    return many[name]
  end
  local trace = either "trace"
  local function id(name)
    local value = trace and either(name)
    return value and from_hex(value) or nil
  end
  return {
    trace_id = id "trace", span_id = id "span", parent_id = id "parent", reuse_span_id = true,
    should_sample = either "sample", flags = either "flags", single_header = single and true,
  }
end

function readers.jaeger(headers)
  local text = headers["uber-trace-id"]
  if type(text) ~= "string" or text == "" then
    return
  end
  local trace, span, parent, flags = text:match("^(%x+):(%x+):(%x+):(%x+)$")
  if not trace then
    return ignore "invalid jaeger uber-trace-id header"
  elseif #trace > 32 or is_zero(trace) then
    return ignore "invalid jaeger trace ID"
  end
  if #parent ~= 16 and not is_zero(parent) then
    ignore "invalid jaeger parent ID"
  end
  if #span > 16 or is_zero(span) then
    return ignore "invalid jaeger span ID"
  elseif #flags > 2 then
    return ignore "invalid jaeger flags"
  end
  return {
    trace_id = from_hex(trace), span_id = from_hex(span), parent_id = from_hex(parent),
    reuse_span_id = true, should_sample = tonumber(flags, 16) % 2 == 1,
    baggage = utils.parse_baggage_headers(headers, "^uberctx%-(.*)$"),
  }
end

function readers.ot(headers)
  local sample = sampled(headers["ot-tracer-sampled"], "ot-tracer-sampled")
  local trace = id_of(headers, "ot-tracer-traceid", true)
  local span = id_of(headers, "ot-tracer-spanid")
  if not trace or span == false then
    trace, span = nil, nil
  end
  return {
    trace_id = trace and from_hex(trace), span_id = span and from_hex(span), should_sample = sample,
    baggage = utils.parse_baggage_headers(headers, "^ot%-baggage%-(.*)$"),
  }
end

local PRIORITIES = { ["1"] = true, ["2"] = true, ["0"] = false, ["-1"] = false }

function readers.datadog(headers)
  local priority = headers["x-datadog-sampling-priority"]
  if priority ~= nil and PRIORITIES[priority] == nil then
    return ignore "x-datadog-sampling-priority header invalid"
  end
  local function id(name)
    local value = headers[name]
    local digits = type(value) == "string" and value:match("^%s*(%d+)%s*$")
    if value ~= nil and not digits then
      ignore(name .. " header invalid")
    end
    return digits and decimal.to_bytes(digits) or nil
  end
  local trace, parent = id "x-datadog-trace-id", id "x-datadog-parent-id"
  return {
    trace_id = trace, span_id = trace and parent, should_sample = PRIORITIES[priority],
  }
end

function readers.aws(headers)
  local text = headers["x-amzn-trace-id"]
  if type(text) ~= "string" then
    return
  end
  local found = {}
  for pair in text:gmatch("[^;]+") do
    local name, value = pair:match("^([^=]+)=(.*)$")
    name, value = strip(name), strip(value)
    if name == "Root" then
      local time, unique = value:match("^1%-(%x+)%-(%x+)$")
      if not time or #time ~= 8 or #unique ~= 24 then
        return ignore "invalid aws header trace id"
      end
      found.trace_id = from_hex(time .. unique)
    elseif name == "Parent" then
      if #value ~= 16 then
        return ignore "invalid aws header parent id"
      end
      found.span_id = from_hex(value)
    elseif name == "Sampled" then
      if value ~= "0" and value ~= "1" then
        return ignore "invalid aws header sampled flag"
      end
      found.should_sample = value == "1"
    end
  end
  return found
end

function readers.gcp(headers)
  local text = headers["x-cloud-trace-context"]
  if type(text) ~= "string" then
    return
  end
  local match = ngx.re.match(text, "^([0-9a-f]{32})/([0-9]{1,20})(?:;o=([0-9]))?$", "jo")
  if not match then
    return ignore "invalid GCP header"
  end
  return {
    trace_id = from_hex(match[1]), span_id = decimal.to_bytes(match[2]),
    should_sample = match[3] == "1",
  }
end

function readers.instana(headers)
  local trace, span = headers["x-instana-t"], headers["x-instana-s"]
  if type(trace) ~= "string" then
    return
  end
  trace = trace:match("^%x+")
  if not trace or #trace ~= 16 and #trace ~= 32 then
    ignore "x-instana-t header invalid"
  end
  if type(span) ~= "string" then
    return
  end
  span = span:match("^%x+")
  if not span then
    ignore "x-instana-s header invalid"
  end
  local level = headers["x-instana-l"]
  return {
    trace_id = trace and from_hex(trace), span_id = span and from_hex(span),
    should_sample = type(level) == "string" and level:sub(1, 1) == "1",
  }
end

-- What one format finds; nil if none of its headers is there.
return function(format, headers)
  local there = false
  for _, name in ipairs(HEADERS[format] or {}) do
    there = there or headers[name] ~= nil
  end
  local found = there and readers[format](headers)
  if not found then
    return nil
  end
  found.trace_id_original_size = found.trace_id and #found.trace_id
  found.trace_id = utils.to_kong_trace_id(found.trace_id)
  found.span_id = utils.to_kong_span_id(found.span_id)
  found.parent_id = utils.to_kong_span_id(found.parent_id)
  return found
end
