-- Files and folders: the module `lfs`.

local host = require "silverback.host"

local _M = { _VERSION = "LuaFileSystem 1.8.0" }

local function attributes_of(path, wanted, follow)
  local all, err, code = host.file_attributes(path, follow)
  if not all then
    return nil, ("cannot obtain information from file '%s': %s"):format(path, err), code
  end
  if type(wanted) == "table" then
    for name, value in pairs(all) do
      wanted[name] = value
    end
    return wanted
  end
  if wanted == nil then
    return all
  end
  if all[wanted] == nil then
    error(("invalid attribute name '%s'"):format(tostring(wanted)), 3)
  end
  return all[wanted]
end

function _M.attributes(path, wanted)
  return attributes_of(path, wanted, true)
end

function _M.symlinkattributes(path, wanted)
  if wanted == "target" then
    return host.link_target(path)
  end
  return attributes_of(path, wanted, false)
end

-- Names of a folder's entries, `.` and `..` among them.
function _M.dir(path)
  local names, err = host.folder_names(path)
  if not names then
    error(("cannot open %s: %s"):format(path, err), 2)
  end
  local i = 0
  local folder = {
    next = function()
      i = i + 1
      return names[i]
    end,
    close = function() i = #names end,
  }
  return folder.next, folder
end

_M.mkdir = host.make_folder
_M.rmdir = host.remove_folder
_M.touch = host.touch_file

function _M.currentdir()
  return host.current_dir()
end

-- All workers are one process and have one current folder.
function _M.chdir(path)
  return nil, ("Unable to change working directory to '%s'"):format(tostring(path))
end

function _M.link(old, new, symbolic)
  return host.link_file(old, new, symbolic == true)
end

-- One process serves everything: there is nobody to lock files from.
function _M.lock()
  return true
end

_M.unlock = _M.lock

function _M.setmode()
  return true, "binary"
end

return _M
