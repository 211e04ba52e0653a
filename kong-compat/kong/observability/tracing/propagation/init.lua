-- Traces from the client's headers to the upstream's: Kong's module that tracing plugins share.

local extract_one = require "kong.observability.tracing.propagation.extract"
local inject_one = require "kong.observability.tracing.propagation.inject"
local tracing_context = require "kong.observability.tracing.tracing_context"

local _M = {}

-- The order of before there was a choice.
local ALL = { "b3", "w3c", "jaeger", "ot", "datadog", "aws", "gcp", "instana" }

local function is_set(value)
  return value ~= nil and value ~= ngx.null
end

-- The propagation of a plugin's configuration; the fields of before Kong 3.7 count where it has
-- nothing but its default.
function _M.get_plugin_params(config)
  local params = config.propagation or {}
  for name, value in pairs(params) do
    if name ~= "default_format" and is_set(value) then
      return params
    end
  end
  if is_set(config.default_header_type) then
    params.default_format = config.default_header_type
  end
  local kind = config.header_type
  if kind == "ignore" then
    params.inject = { params.default_format }
  elseif is_set(kind) then
    params.extract = { unpack(ALL) }
    params.inject = kind == "preserve" and { "preserve" } or { "preserve", kind }
  end
  return params
end

-- What the first format finds that finds anything.
function _M.extract(params)
  local headers, found = ngx.req.get_headers(), {}
  for _, format in ipairs(params.extract or {}) do
    found = extract_one(format, headers)
    if found and next(found) ~= nil then
      kong.ctx.plugin.extracted_from = format
      break
    end
  end
  return found
end

function _M.clear(params)
  for _, name in ipairs(params.clear or {}) do
    kong.service.request.clear_header(name)
  end
end

local function format_of(wanted, params, trace)
  if wanted ~= "preserve" then
    return wanted
  end
  local format = kong.ctx.plugin.extracted_from or params.default_format or "w3c"
  if format == "b3" and trace.single_header then
    return "b3-single"
  end
  return format
end

-- The id of the trace in all formats; nil and why a format could not be written.
function _M.inject(params, trace)
  if not params.inject then
    return nil
  end
  local formats, errors = nil, {}
  for _, wanted in ipairs(params.inject) do
    local copy = setmetatable({}, { __index = trace })
    local shown, err = inject_one(format_of(wanted, params, trace), copy)
    if shown then
      formats = tracing_context.add_trace_id_formats(shown)
    else
      errors[#errors + 1] = err
    end
  end
  if #errors > 0 then
    return nil, table.concat(errors, ", ")
  end
  return formats
end

-- Reads, lets the plugin decide, takes off and writes.
function _M.propagate(params, decide, ...)
  local found = _M.extract(params) or {}
  local trace = found
  if decide then
    trace = decide(found, ...)
  end
  _M.clear(params)
  local formats, err = _M.inject(params, trace)
  if formats then
    kong.log.set_serialize_value("trace_id", formats)
  elseif err then
    kong.log.err(err)
  end
end

return _M
