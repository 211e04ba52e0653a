-- The name is that of the copy that is read.
local name = debug.getinfo(1, "S").source:match("([^/]+)/schema%.lua$")

return {
  name = name,
  fields = {
    { config = { type = "record", fields = { { text = { type = "string", default = "yes" } } } } },
  },
}
