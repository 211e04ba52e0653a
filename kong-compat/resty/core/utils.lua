-- What plugins use of `resty.core.utils`.

local _M = {}

-- A text with one character in place of another.
function _M.str_replace_char(text, old, new)
  return (text:gsub("%" .. old, (new:gsub("%%", "%%%%"))))
end

return _M
