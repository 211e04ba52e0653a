-- Run it with: silverback spec spec/@NAME@

local helpers = require "spec.helpers"
local schema = require "kong.plugins.@NAME@.schema"

local PLUGIN_NAME = "@NAME@"

describe(PLUGIN_NAME .. ": (schema)", function()
  local function validate(config)
    return helpers.validate_plugin_config_schema(config, schema)
  end

  it("has defaults", function()
    local entity, err = validate {}
    assert.is_nil(err)
    assert.equal("X-Hello-Client", entity.config.response_header)
  end)

  it("refuses the same header twice", function()
    local entity, err = validate { request_header = "X-One", response_header = "X-One" }
    assert.is_falsy(entity)
    assert.is_table(err.config["@entity"])
  end)
end)

for _, strategy in helpers.all_strategies() do
  describe(PLUGIN_NAME .. ": (access) [#" .. strategy .. "]", function()
    local client

    lazy_setup(function()
      local bp = helpers.get_db_utils(strategy, nil, { PLUGIN_NAME })
      -- A route without a service of its own goes to a mock that shows what it was asked.
      local route = bp.routes:insert { hosts = { "test.example" } }
      bp.plugins:insert { name = PLUGIN_NAME, route = { id = route.id }, config = {} }
      assert(helpers.start_kong {
        database = strategy,
        plugins = "bundled," .. PLUGIN_NAME,
      })
    end)

    lazy_teardown(function()
      helpers.stop_kong()
    end)

    before_each(function()
      client = helpers.proxy_client()
    end)

    after_each(function()
      client:close()
    end)

    it("adds a header to the request", function()
      local res = client:get("/request", { headers = { host = "test.example" } })
      assert.response(res).has.status(200)
      assert.equal(PLUGIN_NAME, assert.request(res).has.header("X-Hello-Upstream"))
    end)

    it("adds a header to the answer", function()
      local res = client:get("/request", { headers = { host = "test.example" } })
      assert.response(res).has.status(200)
      assert.equal(PLUGIN_NAME, assert.response(res).has.header("X-Hello-Client"))
    end)
  end)
end
