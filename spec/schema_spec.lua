-- `kong.db.schema` for Lua code that has schemas of its own.

local Entity = require "kong.db.schema.entity"
local MetaSchema = require "kong.db.schema.metaschema"
local Schema = require "kong.db.schema"
local typedefs = require "kong.db.schema.typedefs"

local null = ngx.null

describe("kong.db.schema", function()
  it("refuses what is no definition", function()
    local schema, err = Schema.new()
    assert.is_nil(schema)
    assert.equal("expected a definition table", err)
    err = select(2, Schema.new({}))
    assert.equal("error in schema definition: no 'fields' table", err)
    err = select(2, Schema.new { fields = { { a = { type = "foreign", reference = "nowhere" } } } })
    assert.equal("schema refers to an invalid foreign entity: nowhere", err)
  end)

  it("tells what is wrong with values by their place", function()
    local schema = Schema.new { name = "things", fields = {
      { name = { type = "string", required = true } },
      { size = { type = "integer", between = { 1, 5 } } },
      { list = { type = "array", elements = { type = "record", fields = {
        { on = { type = "boolean", required = true } } } } } },
      { map = { type = "map", keys = { type = "string" }, values = { type = "number" } } },
    } }
    assert.same({ true }, { schema:validate { name = "a", size = 5, list = { { on = false } } } })
    local ok, errors = schema:validate {
      size = 9, list = { { on = true }, {} }, map = { a = "x" }, other = 1,
    }
    assert.is_nil(ok)
    assert.same({
      name = "required field missing", size = "value should be between 1 and 5",
      list = { [2] = { on = "required field missing" } }, map = "expected a number",
      other = "unknown field",
    }, errors)
    assert.equal("Validation error: name: required field missing",
      schema:errors_to_string { name = "required field missing" })
  end)

  it("calls functions of the schema, and checks across fields", function()
    local schema = Schema.new { fields = {
      { even = { type = "integer", custom_validator = function(value)
        return value % 2 == 0, "not even"
      end } },
      { a = { type = "string" } }, { b = { type = "string" } },
    }, entity_checks = { { only_one_of = { "a", "b" } } } }
    local _, errors = schema:validate { even = 3, a = null, b = null }
    assert.same({ even = "not even", ["@entity"] = {
      "exactly one of these fields must be non-empty: 'a', 'b'" } }, errors)
    _, errors = schema:validate { even = 2, a = "x" }
    assert.same({ b = "field required for entity check" }, errors)
    _, errors = schema:validate_update { even = 2, a = "x" }
    assert.same({ b = "field required for entity check when updating" }, errors)
  end)

  it("fills in what is left out", function()
    local schema = Entity.new { name = "filled", primary_key = { "id" }, fields = {
      { id = typedefs.uuid }, { kind = { type = "string", default = "plain" } },
      { note = { type = "string" } },
      { inner = { type = "record", fields = { { n = { type = "number", default = 1 } } } } },
    } }
    local data = assert(schema:process_auto_fields({}, "insert"))
    assert.equal("plain", data.kind)
    assert.equal(null, data.note)
    assert.equal(1, data.inner.n)
    assert.equal(36, #data.id)
    assert.is_true(schema:validate_insert(data))
    assert.same({ id = data.id }, schema:extract_pk_values(data))
    local _, errors = schema:validate_primary_key { kind = "x" }
    assert.same({ id = "missing primary key", kind = "not a primary key" }, errors)
  end)

  it("chooses a subschema by its key", function()
    local schema = Entity.new { name = "shapes", subschema_key = "name", fields = {
      { name = { type = "string", required = true } },
      { config = { type = "record", abstract = true, required = true } },
    } }
    assert(schema:new_subschema("circle", { name = "circle", fields = {
      { config = { type = "record", fields = { { radius = { type = "number", gt = 0 } } } } } } }))
    assert.is_true(schema:validate { name = "circle", config = { radius = 1 } })
    local _, errors = schema:validate { name = "circle", config = { radius = 0, x = 1 } }
    assert.same({ config = { radius = "value must be greater than 0", x = "unknown field" } },
      errors)
    _, errors = schema:validate { name = "square" }
    assert.same({ name = "unknown type: square" }, errors)
    local ok, err = schema:new_subschema("odd", { fields = { { size = { type = "number" } } } })
    assert.is_nil(ok)
    assert.equal("error in definition of 'odd': size: cannot create a new field", err)
  end)

  it("iterates over fields in their order, and finds them by name", function()
    local schema = Schema.new { fields = {
      { b = { type = "string" } }, { a = { type = "record", fields = {
        { c = { type = "number" } } } } } } }
    local names = {}
    for name in schema:each_field() do
      names[#names + 1] = name
    end
    assert.same({ "b", "a" }, names)
    assert.equal("number", schema.fields.a.fields.c.type)
    assert.is_nil((schema:validate_field(schema.fields.b, 1)))
  end)
end)

describe("the metaschema", function()
  local function errors_of(fields)
    return select(2, MetaSchema.MetaSubSchema:validate { name = "p", fields = fields })
  end

  it("takes what typedefs and attributes make", function()
    local config = { type = "record", fields = {
      { port = typedefs.port { default = 80 } }, { hosts = typedefs.hosts },
      { list = { type = "set", elements = { type = "string", one_of = { "a" } }, len_min = 1 } },
    }, entity_checks = { { at_least_one_of = { "port", "hosts" } } } }
    assert.is_nil(errors_of { { consumer = typedefs.no_consumer }, { config = config } })
  end)

  it("refuses unknown attributes, wrong types and parts that are missing", function()
    assert.same({ fields = { { requird = "unknown field" } } },
      errors_of { { a = { type = "string", requird = true } } })
    local needed = { { type = "required field missing" } }
    assert.same({ a = "missing type declaration", fields = needed },
      errors_of { { a = {} } })
    assert.same({ a = "field of type 'map' must declare 'values'" },
      errors_of { { a = { type = "map", keys = { type = "string" } } } })
    assert.same({ a = "field of type 'number' cannot have attribute 'match'" },
      errors_of { { a = { type = "number", match = "x" } } })
    assert.same({ fields = { { description = "length must be at least 10" } } },
      errors_of { { a = { type = "number", description = "short" } } })
    assert.same({ fields = { { default = "expected a number" } } },
      errors_of { { a = { type = "number", default = "x" } } })
    assert.same({ fields = { "length must be 1" } },
      errors_of { { a = { type = "number" }, b = { type = "number" } } })
    assert.same({ fields = "field required for entity check" },
      select(2, MetaSchema.MetaSubSchema:validate { name = "p" }))
  end)

  it("looks at the names that an entity speaks of", function()
    local fields = { { id = { type = "string", uuid = true } }, { key = { type = "string" } } }
    local _, errors = MetaSchema:validate { name = "e", primary_key = { "id" }, fields = fields,
      endpoint_key = "nothing", cache_key = { "key" } }
    assert.same({ endpoint_key = "value must be a field name",
      cache_key = "a field used as a single cache key must be unique" }, errors)
  end)
end)
