-- Texts by key, as the module of that name has them; luassert's messages are there.

local texts = {}

local say = {}

function say.set(_, key, text)
  texts[key] = text
end

function say.set_namespace() end

function say.set_fallback() end

return setmetatable(say, { __call = function(_, key, values)
  local text = texts[key]
  if type(text) ~= "string" then
    return nil
  end
  local shown = {}
  local count = values and (values.n or #values) or 0
  for i = 1, count do
    shown[i] = tostring(values[i])
  end
  -- A text may name more values than there are.
  local _, wanted = text:gsub("%%%%", ""):gsub("%%s", "")
  for i = count + 1, wanted do
    shown[i] = "nil"
  end
  return text:format(unpack(shown, 1, math.max(count, wanted)))
end })
