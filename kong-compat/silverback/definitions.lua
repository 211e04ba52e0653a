-- Where the schema of a collection is found: among Kong's own, or in the `daos.lua` of a plugin.

local _M = {}

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
