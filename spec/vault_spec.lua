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
    local seen = {}
    local function connect(options)
      seen[#seen + 1] = options.password
      if options.password ~= "old" then
        return "open"
      end
      return nil, "refused"
    end
    local get = kong.vault.get
    kong.vault.get = function(reference)
      return reference == "{vault://env/pass}" and "new" or nil
    end
    local refs = { password = "{vault://env/pass}" }
    local ok, result, err = pcall(kong.vault.try, connect, { password = "old", ["$refs"] = refs })
    kong.vault.get = get
    assert.is_true(ok, result)
    assert.same({ "open", nil }, { result, err })
    assert.same({ "old", "new" }, seen)
  end)

  it("keeps a secret that is not there, and tries no more without references", function()
    local seen = {}
    local function connect(options)
      seen[#seen + 1] = options.password
      return nil, "refused " .. options.password
    end
    local ok, err = kong.vault.try(connect, { password = "a", ["$refs"] = {
      password = "{vault://env/there-is-no-such-variable}" } })
    assert.same({ nil, "refused a" }, { ok, err })
    kong.vault.try(connect, { password = "b" })
    assert.same({ "a", "a", "b" }, seen)
  end)

  it("reads the references of records within", function()
    local get = kong.vault.get
    kong.vault.get = function(reference) return "new of " .. reference end
    local conf = { redis = { password = "old", ["$refs"] = { password = "p" } },
                   list = { "a", "b" }, ["$refs"] = { list = { [2] = "l" } } }
    local seen = {}
    pcall(kong.vault.try, function(options)
      seen[#seen + 1] = options.redis.password .. ", " .. options.list[2]
      return nil, "refused"
    end, conf)
    kong.vault.get = get
    assert.same({ "old, b", "new of p, new of l" }, seen)
  end)
end)
