-- The fields of a queue in a plugin's configuration.

return require("kong.db.schema.typedefs").queue
