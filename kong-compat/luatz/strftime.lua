-- Times as texts: the module `luatz.strftime`.

local calendar = require "silverback.calendar"

local _M = {}

function _M.strftime(format, time)
  return (format:gsub("%%([EO]?)(.)", function(modifier, letter)
    local text = calendar.specifier(letter, time)
    if not text then
      error("invalid conversation specifier '%" .. modifier .. letter .. "'", 3)
    end
    return text
  end))
end

function _M.asctime(time)
  return calendar.specifier("c", time) .. "\n"
end

return _M
