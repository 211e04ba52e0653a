-- Flags of files, as functions: what the C module `lua_system_constants` gives.

local ffi = require "ffi"

require "silverback.libc"

local mac = ffi.os == "OSX" or ffi.os == "BSD"

local VALUES = {
  O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_ACCMODE = 3,
  O_CREAT = mac and 0x200 or 0x40,
  O_EXCL = mac and 0x800 or 0x80,
  O_TRUNC = mac and 0x400 or 0x200,
  O_APPEND = mac and 0x8 or 0x400,
  O_NONBLOCK = mac and 0x4 or 0x800,
  S_IRWXU = 0x1c0, S_IRUSR = 0x100, S_IWUSR = 0x80, S_IXUSR = 0x40,
  S_IRWXG = 0x38, S_IRGRP = 0x20, S_IWGRP = 0x10, S_IXGRP = 0x8,
  S_IRWXO = 0x7, S_IROTH = 0x4, S_IWOTH = 0x2, S_IXOTH = 0x1,
  S_ISUID = 0x800, S_ISGID = 0x400, S_ISVTX = 0x200,
  S_IFMT = 0xf000, S_IFREG = 0x8000, S_IFDIR = 0x4000, S_IFLNK = 0xa000,
}

local _M = {}

for name, value in pairs(VALUES) do
  _M[name] = function() return value end
end

return _M
