-- Times from texts: the module `luatz.parse`.

local timetable = require "luatz.timetable"

local _M = {}

-- The time as it stands there, and how many seconds it is ahead of UTC, if that is said.
function _M.rfc_3339(text, from)
  local year, month, day, hour, min, sec, at = text:match(
    "^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt](%d%d):(%d%d):(%d%d%.?%d*)()", from)
  if not year then
    return nil, "Invalid RFC 3339 timestamp"
  end
  local time = timetable.new(tonumber(year), tonumber(month), tonumber(day), tonumber(hour),
    tonumber(min), tonumber(sec))
  if text:find("^[Zz]", at) then
    return time, 0
  end
  local sign, hours, minutes = text:match("^([+-])(%d%d):(%d%d)", at)
  if not sign then
    return time
  end
  -- The minutes of a zone west of Greenwich count as luatz counts them: forward.
  return time, tonumber(sign .. hours) * 3600 + tonumber(minutes) * 60
end

return _M
