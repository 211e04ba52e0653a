-- Messages for the system's log: the module `lsyslog`. They go to the socket of the log as the C
-- library writes them; a log that does not listen, or is full, loses them.

local host = require "silverback.host"

local _M = {
  -- Where the log listens.
  path = "/dev/log",
}

local LEVELS = { "EMERG", "ALERT", "CRIT", "ERR", "WARNING", "NOTICE", "INFO", "DEBUG" }
for i, name in ipairs(LEVELS) do
  _M["LOG_" .. name] = i - 1
end

local FACILITIES = {
  KERN = 0, USER = 1, MAIL = 2, DAEMON = 3, AUTH = 4, SYSLOG = 5, LPR = 6, NEWS = 7, UUCP = 8,
  CRON = 9, AUTHPRIV = 10, FTP = 11, LOCAL0 = 16, LOCAL1 = 17, LOCAL2 = 18, LOCAL3 = 19,
  LOCAL4 = 20, LOCAL5 = 21, LOCAL6 = 22, LOCAL7 = 23,
}
for name, number in pairs(FACILITIES) do
  _M["FACILITY_" .. name] = number * 8
end

local name, facility = "silverback", FACILITIES.USER * 8

function _M.open(ident, of)
  name, facility = ident, of or facility
end

function _M.log(level, message)
  local now = os.date("%b %e %H:%M:%S")
  local line = ("<%d>%s %s: %s"):format(facility + level, now, name, message)
  return host.send_datagram(_M.path, line)
end

function _M.close()
  return true
end

return _M
