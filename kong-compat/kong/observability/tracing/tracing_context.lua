-- What plugins tell each other about the trace of a request.

local _M = {}

local KEY = "TRACING_CONTEXT"

local function context(ctx)
  ctx = ctx or ngx.ctx
  if not ctx[KEY] then
    ctx[KEY] = { trace_id = { formatted = {} }, unlinked_spans = {} }
  end
  return ctx[KEY]
end

-- The id of the trace in every format that plugins have given it.
function _M.add_trace_id_formats(formats, ctx)
  local trace_id = context(ctx).trace_id
  if next(trace_id.formatted) == nil then
    trace_id.formatted = formats
  else
    for name, value in pairs(formats) do
      trace_id.formatted[name] = value
    end
  end
  return trace_id.formatted
end

function _M.get_raw_trace_id(ctx)
  return context(ctx).trace_id.raw
end

function _M.set_raw_trace_id(id, ctx)
  context(ctx).trace_id.raw = id
end

function _M.get_flags(ctx)
  return context(ctx).flags
end

function _M.set_flags(flags, ctx)
  context(ctx).flags = flags
end

function _M.get_unlinked_span(name, ctx)
  return context(ctx).unlinked_spans[name]
end

function _M.set_unlinked_span(name, span, ctx)
  context(ctx).unlinked_spans[name] = span
end

return _M
