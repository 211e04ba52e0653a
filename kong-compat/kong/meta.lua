-- Which Kong this is compatible with. Plugins give it as their own version.

local version = "3.10.0"

return {
  _NAME = "kong",
  _VERSION = version,
  _SERVER_TOKENS = "kong/" .. version,
  version = version,
}
