-- The Upstreams of the configuration, by the names that Kong's balancer has for them.

local _M = {}

-- Ids by workspace and name.
function _M.get_all_upstreams()
  local ids = {}
  for upstream in kong.db.upstreams:each() do
    ids[kong.default_workspace .. ":" .. upstream.name] = upstream.id
  end
  return ids
end

function _M.get_upstream_by_name(name)
  for upstream in kong.db.upstreams:each() do
    if upstream.name == name then
      return upstream
    end
  end
  return false
end

-- What is known of targets is in the gateway's own metrics.
function _M.get_upstream_health()
  return nil
end

return _M
