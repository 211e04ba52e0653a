local jwt = require "kong.plugins.jwt.jwt_parser"

local function key(name)
  local file = assert(io.open("spec/certificates/openssl/" .. name .. ".pem", "rb"))
  local text = file:read "*a"
  file:close()
  return text, require("resty.openssl.pkey").new(text):to_PEM("public")
end

describe("kong.plugins.jwt.jwt_parser", function()
  it("reads and makes tokens of all algorithms", function()
    for _, case in ipairs {
      { "RS256", "rsa" }, { "RS384", "rsa" }, { "RS512", "rsa" }, { "PS256", "rsa" },
      { "PS384", "rsa" }, { "PS512", "rsa" }, { "ES256", "prime256v1" }, { "ES384", "secp384r1" },
      { "ES512", "secp521r1" }, { "EdDSA", "ed" },
    } do
      local private, public = key(case[2])
      local token = jwt.encode({ sub = "ann" }, private, case[1])
      local parsed = assert(jwt:new(token))
      assert.equal("ann", parsed.claims.sub)
      assert.equal(case[1], parsed.header.alg)
      assert.is_true(parsed:verify_signature(public))
      parsed.claims_64 = parsed.claims_64 .. "A"
      assert.is_false((parsed:verify_signature(public)))
    end
    local parsed = assert(jwt:new(jwt.encode({ sub = "ann" }, "secret")))
    assert.is_true(parsed:verify_signature("secret"))
    assert.is_false(parsed:verify_signature("other"))
    assert.is_false((pcall(parsed.verify_signature, jwt:new(jwt.encode({}, "x", "HS256",
      { alg = "RS256" })), "no key")))
  end)

  it("reads the token of RFC 7515, A.1", function()
    local token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4"
      .. "MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1"
      .. "r_wW1gFWFOEjXk"
    local secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAz"
      .. "Zr1Z9CAow"
    secret = require("ngx.base64").decode_base64url(secret)
    local parsed = assert(jwt:new(token))
    assert.equal("joe", parsed.claims.iss)
    assert.is_true(parsed:verify_signature(secret))
    local ok, errors = parsed:verify_registered_claims { "exp", "nbf" }
    assert.is_false(ok)
    assert.same({ exp = "token expired", nbf = "must be a number" }, errors)
    assert.is_true(parsed:check_maximum_expiration(60))
  end)

  it("says what a token lacks", function()
    assert.equal("invalid JSON", select(2, jwt:new("x")))
    assert.equal("invalid JSON", select(2, jwt:new("x.y.z")))
    assert.equal("invalid alg", select(2, jwt:new(jwt.encode({}, "x", "HS256", { alg = "none" }))))
    assert.is_false((pcall(jwt.new, jwt, nil)))
    assert.is_false((pcall(jwt.encode, {}, "x", "none")))
  end)
end)
