-- `kong.db.schema.metaschema`: checks schemas, those of entities and those of plugins.

local meta = require "silverback.metaschema"

local function checker(errors_of)
  return {
    validate = function(_, schema)
      local errors = errors_of(schema)
      if errors then
        return nil, errors
      end
      return true
    end,
  }
end

local MetaSchema = checker(meta.errors_of_entity)
MetaSchema.MetaSubSchema = checker(meta.errors_of_plugin)
MetaSchema.valid_types = require("kong.db.schema").valid_types

return MetaSchema
