-- Texts in URLs: Penlight's `url`.

local _M = {}

local function escape(char)
  return ("%%%02X"):format(char:byte())
end

function _M.quote(text, plus)
  if type(text) ~= "string" then
    return text
  end
  text = text:gsub("\n", "\r\n"):gsub("[^%w %-_%./]", escape)
  if plus then
    return (text:gsub(" ", "+"):gsub("/", escape))
  end
  return (text:gsub(" ", "%%20"))
end

function _M.unquote(text)
  if type(text) ~= "string" then
    return text
  end
  text = text:gsub("+", " "):gsub("%%(%x%x)", function(pair)
    return string.char(tonumber(pair, 16))
  end)
  return (text:gsub("\r\n", "\n"))
end

return _M
