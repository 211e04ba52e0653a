-- A table on one line, its keys in order: how Kong's errors quote a primary key.

local function pretty(value)
  if type(value) == "string" then
    return ("%q"):format(value)
  elseif type(value) ~= "table" then
    return tostring(value)
  end
  local keys, parts = {}, {}
  for key in pairs(value) do
    keys[#keys + 1] = key
  end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  for i, key in ipairs(keys) do
    local plain = type(key) == "string" and key:match("^[%a_][%w_]*$")
    local name = plain and key .. "=" or "[" .. pretty(key) .. "]="
    parts[i] = (key == i and "" or name) .. pretty(value[key])
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

return pretty
