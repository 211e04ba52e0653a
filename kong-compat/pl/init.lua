-- All of Penlight as globals, loaded when they are asked for: `require "pl"`.

return require "pl.import_into"(_G)
