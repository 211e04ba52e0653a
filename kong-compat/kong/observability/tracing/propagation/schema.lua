-- The fields of the propagation in a plugin's configuration.

return require("kong.db.schema.typedefs").propagation
