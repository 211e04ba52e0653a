-- `kong.vault`: references of the environment.

describe("kong.vault", function()
  it("takes a reference apart", function()
    assert.same({ name = "env", resource = "cert", key = "key", version = 1,
                  config = { prefix = "SSL_" } },
                kong.vault.parse_reference("{vault://env/cert/key?prefix=SSL_#1}"))
    assert.same({ name = "my", resource = "a/b" }, kong.vault.parse_reference("{vault://my/a/b/}"))
    for text, told in pairs {
      ["plain"] = "not a reference [plain]",
      ["{vault://env}"] = "reference url is missing path [{vault://env}]",
      ["{vault://env/}"] = "reference url has empty path [{vault://env/}]",
      ["{vault://env/a#x}"] = "reference url has invalid version [{vault://env/a#x}]",
    } do
      local parsed, err = kong.vault.parse_reference(text)
      assert.is_nil(parsed)
      assert.equal(told, err)
    end
    assert.is_true(kong.vault.is_reference("{vault://env/x}"))
    assert.is_false(kong.vault.is_reference(1))
  end)

  it("tries once more with fresh secrets", function()
    local calls = 0
    local function connect(options)
      calls = calls + 1
      return nil, "refused " .. options.password
    end
    local ok, err = kong.vault.try(connect, { password = "a", ["$refs"] = {
      password = "{vault://env/there-is-no-such-variable}" } })
    assert.is_nil(ok)
    assert.equal("refused a", err)
    assert.equal(2, calls)
    kong.vault.try(connect, { password = "a" })
    assert.equal(3, calls)
  end)
end)
