-- What `spec.helpers` gives without a gateway; with one it is tried by the black-box tests.

local helpers = require "spec.helpers"

describe("spec.helpers", function()
  local bp, db

  before_each(function()
    bp, db = helpers.get_db_utils("off", {}, {})
  end)

  it("fills in what a spec does not say, and gives entities with their ids", function()
    local route = bp.routes:insert { hosts = { "a.test" } }
    assert.matches("^%x+%-%x+%-", route.id)
    local service = db.services:select { id = route.service.id }
    assert.equal(helpers.mock_upstream_port, service.port)
    local first, second = unpack(bp.consumers:insert_n(2))
    assert.not_equal(first.username, second.username)
    assert.equal(second.id, db.consumers:select_by_username(second.username).id)
    assert.is_string(bp.keyauth_credentials:insert({ consumer = { id = first.id } }).key)
  end)

  it("refuses what the schema refuses", function()
    local ok, err, err_t = db.plugins:insert { name = "key-auth", config = { key_names = 1 } }
    assert.is_nil(ok)
    assert.matches("schema violation", err, 1, true)
    assert.same({ key_names = "expected an array" }, err_t.fields.config)
    assert.has_error(function() bp.routes:insert { nonsense = true } end)
  end)

  it("forgets with the next get_db_utils", function()
    bp.services:insert { name = "gone" }
    bp, db = helpers.get_db_utils()
    assert.is_nil(db.services:select_by_name("gone"))
  end)

  it("checks a config by a schema", function()
    local schema = { name = "mine", fields = { { config = { type = "record", fields = {
      { size = { type = "integer", default = 7 } }, { name = { type = "string" } } } } } } }
    local ok = assert(helpers.validate_plugin_config_schema({ name = "x" }, schema))
    assert.equal(7, ok.config.size)
    local none, err = helpers.validate_plugin_config_schema({ size = "x" }, schema)
    assert.is_nil(none)
    assert.same({ config = { size = "expected an integer" } }, err)
  end)

  it("waits for what comes later", function()
    local count = 0
    helpers.wait_until(function()
      count = count + 1
      return count > 2
    end, 5, 0.001)
    assert.eventually(function()
      count = count + 1
      return count > 5
    end).with_step(0.001).is_truthy()
    assert.has_error(function() helpers.wait_until(function() end, 0.01, 0.001) end)
  end)

  it("listens for specs", function()
    local port = helpers.get_available_port()
    local thread = helpers.tcp_server(port, { prefix = "> " })
    local socket = ngx.socket.tcp()
    assert(socket:connect("127.0.0.1", port))
    assert(socket:send("hello\n"))
    assert.equal("> hello", (socket:receive()))
    local ok, line = thread:join()
    assert.is_true(ok)
    assert.equal("hello", line)
  end)

  it("takes a port over from a server that a case has left behind", function()
    local port = helpers.get_available_port()
    local left = helpers.tcp_server(port)
    local server = helpers.tcp_server(port)
    local ok, why = left:join()
    assert.same({ true, "closed" }, { ok, why })
    local socket = ngx.socket.tcp()
    assert(socket:connect("127.0.0.1", port))
    assert(socket:send("again\n"))
    assert.equal("again", select(2, server:join()))
    local behind = helpers.udp_server(port)
    helpers.udp_server(port, 1, 0.01):join()
    assert.same({ true }, { (behind:join()) })
  end)

  it("tells of a wrong entry of a map at the map, as Kong does", function()
    local schema = { name = "x", fields = { { config = { type = "record", fields = {
      { names = { type = "map", keys = { type = "string" },
        values = { type = "string", len_min = 1 } } },
    } } } } }
    local none, err = helpers.validate_plugin_config_schema({ names = { a = "" } }, schema)
    assert.is_nil(none)
    assert.same({ config = { names = "length must be at least 1" } }, err)
  end)

  it("knows the formats of traces that Kong knows", function()
    local schema = { name = "x", fields = { { config = { type = "record", fields = {
      { propagation = require("kong.observability.tracing.propagation.schema") } } } } } }
    local config = { propagation = { extract = { "instana" }, inject = { "instana", "preserve" },
      default_format = "instana" } }
    assert(helpers.validate_plugin_config_schema(config, schema))
  end)

  it("runs commands for specs", function()
    local run = require("resty.shell").run
    local ok, out, err, why, status = run({ "sh", "-c", "cat; exit 3" }, "in")
    assert.same({ false, "in", "", "exit", 3 }, { ok, out, err, why, status })
  end)
end)
