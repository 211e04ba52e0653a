-- Penlight's `file`: whole files at a time.

local path = require "pl.path"
local utils = require "pl.utils"

local _M = { read = utils.readfile, write = utils.writefile, delete = os.remove }

function _M.copy(from, to)
  local text, err = utils.readfile(from, true)
  if not text then
    return false, err
  end
  local ok
  ok, err = utils.writefile(to, text, true)
  return ok or false, err
end

function _M.move(from, to)
  local ok, err = os.rename(from, to)
  return ok or false, err
end

_M.size = path.getsize
_M.access_time, _M.modified_time = path.getatime, path.getmtime
_M.creation_time = path.getctime

return _M
