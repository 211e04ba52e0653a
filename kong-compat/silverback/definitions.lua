-- Where the schema of a collection is found: among Kong's own, or in the `daos.lua` of a plugin.

local host = require "silverback.host"

local _M = {}

-- The names in Kong's setting `plugins`, and what `bundled` among them has brought.
function _M.plugins()
  local names = {}
  for _, name in ipairs(kong.configuration.plugins or {}) do
    if name == "bundled" then
      for _, one in ipairs(host.kongs_plugins) do
        names[one] = true
      end
    end
    names[name] = true
  end
  for name in pairs(kong.configuration.loaded_plugins or {}) do
    names[name] = true
  end
  for module in pairs(package.loaded) do
    names[tostring(module):match "^kong%.plugins%.([%w_-]+)%." or ""] = true
  end
  names[""] = nil
  return names
end

-- The definition of a collection; `plugins` is a set of names.
function _M.find(name, plugins)
  local ok, found = pcall(require, "kong.db.schema.entities." .. name)
  if ok then
    return found, true
  end
  for plugin in pairs(plugins) do
    local known, daos = pcall(require, "kong.plugins." .. plugin .. ".daos")
    for key, dao in pairs(known and type(daos) == "table" and daos or {}) do
      if type(dao) == "table" and (dao.name == name or key == name) then
        return dao
      end
    end
  end
end

return _M
