describe("kong.tools.sandbox", function()
  local sandbox = require "kong.tools.sandbox"

  it("runs code with a safe library only", function()
    assert.equal("nil", type(sandbox.sandbox("return os.execute")()))
    assert.equal(3, sandbox.sandbox("return math.max(1, 3)")())
    assert.equal("nil", type(sandbox.sandbox("return load or loadstring or getmetatable")()))
  end)

  it("does not let code reach files by way of the request", function()
    local see = sandbox.sandbox("return ngx.req.set_body_file, ngx.req.get_method, ngx.null")
    local file, method, null = see()
    assert.is_nil(file)
    assert.equal("function", type(method))
    assert.equal(ngx.null, null)
    assert.has_error(function() sandbox.sandbox("ngx.req.get_method = 1")() end)
    assert.equal("function", type(ngx.req.set_body_file))
  end)

  it("keeps what code sets as a global from everybody else", function()
    sandbox.sandbox("leaked = 1")()
    assert.is_nil(rawget(_G, "leaked"))
    assert.is_nil(sandbox.sandbox("return leaked")())
  end)

  it("changes nothing that others use", function()
    local refused = {
      ["string.shout = 1"] = "_G.string.shout",
      ["string.rep = 1"] = "_G.string.rep",
      ["kong.response.exit = 1"] = "_G.kong.response.exit",
      ["kong.service.request.set_header = 1"] = "_G.kong.service.request.set_header",
      ["kong.db.consumers.select = 1"] = "_G.kong.db.consumers.select",
      ["kong.configuration.more = 1"] = "kong.configuration.more",
      ["kong.licensing.more = 1"] = "kong.licensing.more",
      ["ngx.re.match = 1"] = "_G.ngx.re.match",
      ["ngx.shared.more = 1"] = "_G.ngx.shared.more",
      ["ngx.shared.kong.get = 1"] = "_G.ngx.shared.kong.get",
      ["ngx.req.get_method = 1"] = "_G.ngx.req.get_method",
    }
    for code, name in pairs(refused) do
      local ok, err = pcall(sandbox.sandbox(code))
      assert.is_false(ok, code)
      assert.equal(("Cannot modify %s. Protected by the sandbox."):format(name), err)
    end
    assert.equal("aa", ("a"):rep(2))
  end)

  it("keeps what code sets in kong and ngx from everybody outside", function()
    local log, exit = ngx.log, kong.response
    assert.equal(1, sandbox.sandbox("ngx.log = 1 kong.response = 2 return ngx.log")())
    sandbox.sandbox("ngx.mine = 1 kong.mine = 1 kong.configuration.dns_order[1] = 'x'")()
    assert.equal(log, ngx.log)
    assert.equal(exit, kong.response)
    assert.is_nil(ngx.mine)
    assert.is_nil(kong.mine)
    assert.equal("LAST", kong.configuration.dns_order[1])
    sandbox.configuration:clear()
  end)

  it("lets code use what it sees", function()
    local use = sandbox.sandbox([[
      ngx.shared.kong:set("seen", 7)
      local names = 0
      for _ in pairs(ngx.shared) do names = names + 1 end
      local get = ngx.shared.kong.get
      return get(ngx.shared.kong, "seen"), names > 1, ngx.re.match("ab", "b")[0],
        kong.db.consumers:select({ id = "5f5e0a2c-0d5b-4a3c-9a60-1a2b3c4d5e6f" }),
        kong.cache:get("sandboxed", nil, function() return "found" end), kong.table.new(1, 1)
    ]])
    local seen, walks, matched, consumer, cached, new = use()
    assert.equal(7, seen)
    assert.is_true(walks)
    assert.equal("b", matched)
    assert.is_nil(consumer)
    assert.equal("found", cached)
    assert.same({}, new)
    assert.has_no.errors(sandbox.sandbox("kong.log('x') kong.log.inspect({})"))
  end)

  it("tells what does not compile", function()
    local ok, err = sandbox.validate_safe("if then")
    assert.is_false(ok)
    assert.equal(
      [[Error parsing function: [string "if then"]:1: unexpected symbol near 'then']], err)
    assert.is_true(sandbox.validate_safe("return 1"))
  end)

  it("wants a function where one is to be returned", function()
    local ok, err = sandbox.validate("return 1")
    assert.is_false(ok)
    assert.equal("Bad return value from function, expected function type, got number", err)
    assert.equal(7, sandbox.parse("return function() return 7 end")())
  end)
end)
