-- `resty.kong.grpc`: the authority that a service is asked for by gRPC is the `Host` of others.

local PHASES = { rewrite = true, access = true, balancer = true }

local function set_authority(authority)
  if not PHASES[ngx.get_phase()] then
    error("API disabled in the current context", 2)
  elseif type(authority) ~= "string" then
    error("incorrect argument, expects a string, got " .. type(authority), 2)
  elseif authority == "" then
    error("incorrect argument, the value can not be empty string", 2)
  end
  ngx.var.upstream_host = authority
  return true
end

return { set_authority = set_authority }
