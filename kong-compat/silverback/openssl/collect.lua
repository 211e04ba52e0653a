-- An object that collects text until `final`: digests, HMACs and MACs of `resty.openssl`.

-- `name` begins the errors; `finish(self, text)` gives the result.
return function(name, finish)
  local _M = {}
  local mt = { __index = _M }

  function _M.wrap(object)
    object.n = 0
    return setmetatable(object, mt)
  end

  function _M.istype(object)
    return getmetatable(object) == mt
  end

  function _M:update(...)
    -- Nil is the end of the list, as for `ipairs`.
    for _, text in ipairs { ... } do
      if type(text) == "number" or type(text) == "boolean" then
        error(("attempt to get length of local 's' (a %s value)"):format(type(text)), 2)
      elseif type(text) ~= "string" then
        return false, name .. ":update failed"
      end
      self.n = self.n + 1
      self[self.n] = text
    end
    return true
  end

  function _M:final(text)
    if text ~= nil then
      local ok, err = self:update(text)
      if not ok then
        return nil, err
      end
    end
    return finish(self, table.concat(self, "", 1, self.n))
  end

  function _M:reset()
    self.n = 0
    return true
  end

  function _M:get_provider_name()
    return "default"
  end

  return _M
end
