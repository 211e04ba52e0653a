-- Methods of a client that are those of its socket.

-- `delegate(field)(name)` calls the method of the socket in that field.
return function(field)
  return function(name)
    return function(self, ...)
      local sock = rawget(self, field)
      if not sock then
        return nil, "not initialized"
      end
      return sock[name](sock, ...)
    end
  end
end
