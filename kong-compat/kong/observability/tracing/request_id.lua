-- The id of the request.

local HAS_REQUEST = {
  set = true, rewrite = true, access = true, content = true, response = true,
  header_filter = true, body_filter = true, log = true, balancer = true,
}

local _M = {}

-- Nil and why where there is no request.
function _M.get()
  local phase = ngx.get_phase()
  if not HAS_REQUEST[phase] then
    return nil, "cannot access ngx.var in " .. phase .. " phase"
  end
  return ngx.var.kong_request_id
end

function _M._get_ctx_request_id()
  return _M.get()
end

return _M
