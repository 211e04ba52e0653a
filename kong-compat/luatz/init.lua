-- Times in parts and as texts: the module `luatz`. Local time is UTC.

local gettime = require "luatz.gettime"
local strftime = require "luatz.strftime"
local timetable = require "luatz.timetable"
local tzcache = require "luatz.tzcache"

local _M = {
  gettime = gettime, parse = require "luatz.parse", strftime = strftime, timetable = timetable,
  tzcache = tzcache, time = gettime.gettime, get_tz = tzcache.get_tz,
  gmtime = timetable.new_from_timestamp,
}

function _M.time_in(zone, now)
  return tzcache.get_tz(zone):localize(now)
end

function _M.now()
  return timetable.new_from_timestamp(gettime.gettime())
end

function _M.localtime(time)
  return timetable.new_from_timestamp(_M.time_in(nil, time))
end

function _M.ctime(time)
  return strftime.asctime(_M.localtime(time))
end

return _M
