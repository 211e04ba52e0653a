describe("kong.tools.sandbox", function()
  local sandbox = require "kong.tools.sandbox"

  it("runs code with a safe library only", function()
    assert.equal("nil", type(sandbox.sandbox("return os.execute")()))
    assert.equal(3, sandbox.sandbox("return math.max(1, 3)")())
    assert.equal("nil", type(sandbox.sandbox("return load or loadstring or getmetatable")()))
  end)

  it("keeps what code sets as a global from everybody else", function()
    sandbox.sandbox("leaked = 1")()
    assert.is_nil(rawget(_G, "leaked"))
    assert.is_nil(sandbox.sandbox("return leaked")())
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
