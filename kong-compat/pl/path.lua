-- What plugins use of Penlight's `path`: names of files and folders, and whether they are there.

local host = require "silverback.host"

local _M = { sep = "/", dirsep = ":", is_windows = false }

function _M.isabs(path)
  return path:sub(1, 1) == "/"
end

function _M.join(first, second, ...)
  if select("#", ...) > 0 then
    return _M.join(_M.join(first, second), ...)
  end
  if _M.isabs(second) or first == "" then
    return second
  end
  return first:sub(-1) == "/" and first .. second or first .. "/" .. second
end

function _M.splitpath(path)
  local folder, name = path:match("^(.*)/([^/]*)$")
  return folder or "", name or path
end

function _M.splitext(path)
  local stem, extension = path:match("^(.*[^/])(%.[^%./]*)$")
  return stem or path, extension or ""
end

function _M.dirname(path)
  return (_M.splitpath(path))
end

function _M.basename(path)
  return (select(2, _M.splitpath(path)))
end

function _M.extension(path)
  return (select(2, _M.splitext(path)))
end

-- Without `.`, `..` and double slashes.
function _M.normpath(path)
  local parts = {}
  local root = _M.isabs(path) and "/" or ""
  for part in path:gmatch("[^/]+") do
    if part == ".." and #parts > 0 and parts[#parts] ~= ".." then
      parts[#parts] = nil
    elseif part ~= "." and not (part == ".." and root ~= "") then
      parts[#parts + 1] = part
    end
  end
  local normal = root .. table.concat(parts, "/")
  return normal == "" and "." or normal
end

function _M.expanduser(path)
  local home = path:sub(1, 1) == "~" and os.getenv("HOME")
  return home and home .. path:sub(2) or path
end

-- The path if it is there, else false.
function _M.exists(path)
  return host.file_kind(path) and path or false
end

function _M.isfile(path)
  return host.file_kind(path) == "file"
end

function _M.isdir(path)
  return host.file_kind(path) == "directory"
end

function _M.getsize(path)
  return host.file_size(path)
end

function _M.currentdir()
  return host.current_dir()
end

function _M.abspath(path, base)
  if _M.isabs(path) then
    return _M.normpath(path)
  end
  return _M.normpath(_M.join(base or _M.currentdir(), path))
end

return _M
