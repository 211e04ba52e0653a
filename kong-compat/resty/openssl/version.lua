-- The module `resty.openssl.version`: plugins ask whether OpenSSL 3 is there, and what it does is
-- what they get. The number is that of the OpenSSL which Kong 3.10 ships.

local text = "OpenSSL 3.4.1 11 Feb 2025"

return {
  version_num = 0x30400010,
  version_text = text,
  version = function()
    return text
  end,
  info = function()
    return ""
  end,
  VERSION = 0, CFLAGS = 1, BUILT_ON = 2, PLATFORM = 3, DIR = 4, ENGINES_DIR = 5,
  VERSION_STRING = 6, FULL_VERSION_STRING = 7, MODULES_DIR = 8, CPU_INFO = 9,
  OPENSSL_30 = false,
  OPENSSL_3X = true,
  OPENSSL_4X = false,
  OPENSSL_3_UP = true,
  OPENSSL_111 = false,
  OPENSSL_11 = false,
  OPENSSL_11_OR_LATER = true,
  OPENSSL_10 = false,
  BORINGSSL = false,
}
