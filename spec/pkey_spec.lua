-- Keys, and what the command `openssl` made with them of the text "hello".

local function slurp(name)
  local file = assert(io.open("spec/certificates/openssl/" .. name, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local made = {
  rsa = [[
    SmAr12Q4U7g51s74yfDB4RaRSbzk5OdIpPLDvDWSXSnQ7ehXgzmRdRb6JwFFKWGqtUX8FBUTaBt1KzR9/n1Y6gl3
    /re7tT8ojsQy2GdMdaRCv1Jormggg2aOpiZOr+wqYvSXUA5ECB+gmbk7pG3yyWOLchMZTzSedzXp0Jb72WhQFbzH
    0VLsxSYS1nbpz8StW9gC0M0EMMzMqNKGLTUBDXBqMuXI+OA1Lgj/wnen7jEawlTgf+7QpJ/luOrxIutFs5q9kCN7
    0bMls54eymyQOLivNd69zwEiNcX93hFTfjpYyG1OGpTHgYnHIGkovFQ3smoAY5ZByaAMDsBYF2TeKQ==
  ]],
  pss = [[
    VfZ0lrZIvRJmhLUH6HpTbHbrNxA3M+pfLCitCL6HjZ7us8Ql+r0UokAWNdXTRyMcZl3LbTdfyVfj/b85Wbrfcew1
    v8tfoFe0wz/shQYEoiNYkIupfsGwcaJFM1Vf1YfSdufZfK5Ou+r5sNpQOg57B8g4XugzjClFXmHLKqPwyQrz50qO
    Hr3sBvEdwAzgGZi9HsSFbMVIRhdTGV4mmpKPJTo+ytLo4VlWPMqDLIkSoWDPCkG4M1C5A9X5/AKqP7ke+P/MTigO
    0CRVkUXNrQ4wz2fhac4XczoLzCd40m7fU+RnjGWpirw28X72QOIp86arnXwnS+Wi0LKR1t/dLrAj7w==
  ]],
  p521 = [[
    MIGIAkIA/maBKUJ1SSea5JZ8DzVyzDBTJPKciBfk4EHm2nJO+ne6X6DwOOEXr8a9O4iDb10T1UyB5kyllx3FPWhn
    IUMN9U0CQgEO9JBUDBz4/xNeGQSU4c6ikmYcDqKPr7o8n0C7+4Nnci8GXfEytOHVz9/AdfQ3rEOS/p6Lz1tLISA8
    IZc9lQSt8g==
  ]],
  p256 = [[
    MEYCIQCPhdXTK+ILlIHXJMkXNHOszpVfedeQA+WhLXQOlUAz8wIhAJf4DhRbSd5ohHHsyXtW5W21kR/KmX/Q5gqo
    EdG4Ns4j
  ]],
  ed = [[
    PUlAOAvId9ZZTJPixpXidYNAVTi8GgEaDMpRPnzfbql6VhhbgruN7SEwmcLcQQComOCxo5CIuASipdxwbJSEAw==
  ]],
  pkcs1 = [[
    gNfB/51MCyaiu14+71V65jkc2Xl/wgaPO8chbBFnICnuXeWisbY0aRlHDOStISKkSVlE8iTccp1N7JygmxR2L3Zd
    ovJbfMrIJK12cUXwDNPq2waqR1odKGP18WUQpfvCWMK3f3zU6h2drvqTEZM3oOP0+DsQmh8Ik4/27RTl7JefRW8n
    c2vKr5cs0oKu3S5TdHhHYQ8BcIPN/wYVbXPZP96VrI/S1QKMLu5d2BmU3MpLZdRAeiwnM7YWFJMJub/tui+HNxz7
    P+xGrIj6jW+DtWHroHqYqUM5R2XS2Wt5nJU8DnPHIl3RD2sEdYyQ8lIWw/ID2a+oqlN8bXlTyLp2Ow==
  ]],
  oaep = [[
    R6XkHMYBA2BPtPHmywqNNzRZGWqDl3f0cmoHInFhuhrfYHkY4zT1NX3AKfXe0Se612pcHs1nemumZ4h3bgowdLtx
    XY5/aIp2tkDqvuwZw3r5hUcq/rH+a1U4rZMVdyLJPkHHxZKGa5621i0efEgAj9gERIQsrq4zVl0LzeqxhU4qDgff
    7pTt8cOd1jTtXw/Y7n1/oJHOwkc0R3Vag/FjEEvCTfAZLjR6eGckXeK0FVx03kloBozcXuzLzJJXuDLhWzM5vXjD
    H/ZolOofvL4BQ8j/Vb8PFM6T2DIr0bw5mM7S4+63sR94muagjLo/NJJxTJFdFqNDzi8Cc0DRAdhHPA==
  ]],
}
for name, text in pairs(made) do
  made[name] = ngx.decode_base64((text:gsub("%s", "")))
end

local pkey = require "resty.openssl.pkey"

local function key(name)
  return assert(pkey.new(slurp(name .. ".pem")))
end

local function public(name)
  return assert(pkey.new(key(name):to_PEM("public")))
end

describe("resty.openssl.pkey", function()
  it("reads and writes keys of all kinds as PEM, DER and JSON", function()
    for _, name in ipairs { "rsa", "prime256v1", "secp384r1", "secp521r1", "ed" } do
      local one = key(name)
      assert.is_true(one:is_private())
      assert.is_false(public(name):is_private())
      local der = one:tostring("private", "DER")
      assert.equal(der, pkey.new(der):tostring("private", "DER"))
      local json = one:tostring("private", "JWK")
      assert.equal(der, pkey.new(json, { format = "JWK" }):tostring("private", "DER"))
      local half = pkey.new(one:tostring("public", "JWK"), { format = "JWK" })
      assert.equal(one:to_PEM(), half:to_PEM())
    end
    for _, name in ipairs { "rsa", "secp384r1", "ed" } do
      assert.equal(slurp(name .. ".pem"), key(name):to_PEM("private"))
    end
    assert.equal("rsaEncryption", key("rsa"):get_key_type().sn)
    assert.equal(408, key("prime256v1"):get_key_type(true))
    assert.equal(256, key("rsa"):get_size())
  end)

  it("opens keys with a password, in both formats", function()
    for _, name in ipairs { "rsa-encrypted.pem", "rsa-traditional-encrypted.pem" } do
      local opened = assert(pkey.new(slurp(name), { passphrase = "pw" }))
      assert.equal(key("rsa"):to_PEM("private"), opened:to_PEM("private"))
      assert.is_nil((pkey.new(slurp(name), { passphrase = "wrong" })))
      assert.is_nil((pkey.new(slurp(name))))
      local asked = assert(pkey.new(slurp(name), { passphrase_cb = function() return "pw" end }))
      assert.equal(opened:to_PEM(), asked:to_PEM())
    end
  end)

  it("says what it cannot read", function()
    local none, err = pkey.new("nonsense")
    assert.is_nil(none)
    assert.matches("^pkey.new:load_key: ", err)
    assert.matches("expecting 'pr', 'pu'", select(2, pkey.new("x", { type = "x" })))
    assert.equal("pkey.new: unexpected type number at #1", select(2, pkey.new(5)))
    assert.matches("^pkey.new:load_key: jwk:load_jwk: missing required parameter \"n\"",
      select(2, pkey.new('{"kty":"RSA","e":"AQAB"}', { format = "JWK" })))
    assert.is_nil((pkey.new(slurp("rsa.pem"):sub(1, 400))))
    assert.is_nil((pkey.new(public("rsa"):to_PEM(), { type = "pr" })))
  end)

  it("verifies what OpenSSL has signed, and nothing else", function()
    for _, case in ipairs {
      { "rsa", made.rsa, "sha256" }, { "rsa", made.pss, "sha256", 6 },
      { "secp521r1", made.p521, "sha512" }, { "prime256v1", made.p256, "sha256" },
      { "ed", made.ed },
    } do
      local half, signature = public(case[1]), case[2]
      assert.is_true(half:verify(signature, "hello", case[3], case[4]))
      local ok, err = half:verify(signature, "hellO", case[3], case[4])
      assert.is_false(ok)
      assert.equal("pkey:verify failed", err)
      assert.is_false((half:verify(signature:sub(1, -2), "hello", case[3], case[4])))
    end
    local digest = require("resty.openssl.digest").new("sha256")
    digest:update("hello")
    assert.is_true(public("rsa"):verify(made.rsa, digest))
    assert.equal("pkey:verify: expect a string at #1", select(2, key("rsa"):verify(nil, "x")))
  end)

  it("signs, with signatures of curves in DER or side by side", function()
    local raw = { ecdsa_use_raw = true }
    for _, case in ipairs {
      { "rsa", "sha256" }, { "rsa", "sha512", 6 }, { "rsa", "sha256", 6, { pss_saltlen = 0 } },
      { "prime256v1", "sha256" }, { "prime256v1", "sha256", nil, raw, 64 },
      { "secp384r1", "sha384", nil, raw, 96 }, { "secp521r1", "sha512", nil, raw, 132 }, { "ed" },
    } do
      local name, digest, padding, options, length = case[1], case[2], case[3], case[4], case[5]
      local signature = assert(key(name):sign("hello", digest, padding, options))
      assert.is_true(not length or #signature == length)
      assert.is_true(public(name):verify(signature, "hello", digest, padding, options))
      assert.is_false((public(name):verify(signature, "other", digest, padding, options)))
    end
    assert.equal("pkey:sign: missing private key", select(2, public("ed"):sign("x")))
    assert.matches("invalid digest type \"x\"", select(2, key("rsa"):sign("x", "x")))
    assert.matches("invalid signature length",
      select(2, key("prime256v1"):verify("x", "hello", "sha256", nil, raw)))
    assert.equal("hello", key("rsa"):verify_recover(key("rsa"):sign_raw("hello")))
  end)

  it("signs as RFC 8032 has it", function()
    local function unhex(text)
      return (text:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end))
    end
    local seed = unhex "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    local own = assert(pkey.new { type = "Ed25519", params = { private = seed } })
    assert.equal(unhex "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
      own:get_parameters().public)
    assert.equal(unhex("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
      .. "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"), own:sign(""))
  end)

  it("encrypts with RSA", function()
    local rsa = key("rsa")
    assert.equal("hello", rsa:decrypt(made.pkcs1))
    assert.equal("hello", rsa:decrypt(made.oaep, pkey.PADDINGS.RSA_PKCS1_OAEP_PADDING,
      { oaep_md = "sha256" }))
    assert.equal("x", rsa:decrypt(public("rsa"):encrypt("x", 4), 4))
    assert.is_nil((rsa:decrypt(made.oaep, 4)))
    assert.is_nil((public("rsa"):decrypt(made.pkcs1)))
    assert.is_nil((public("rsa"):encrypt(("x"):rep(300))))
  end)

  it("makes keys, and builds them from their numbers", function()
    local rsa = assert(pkey.new { type = "RSA", bits = 1024 })
    local again = assert(pkey.new { type = "RSA", params = rsa:get_parameters() })
    assert.equal(rsa:to_PEM("private"), again:to_PEM("private"))
    local one = assert(pkey.new { type = "EC", curve = "prime256v1" })
    local two = assert(pkey.new { type = "EC", curve = "prime256v1" })
    assert.equal(one:derive(two), two:derive(one))
    assert.is_nil((one:derive(key("secp384r1"))))
    local numbers = one:get_parameters()
    local params = { group = numbers.group, x = numbers.x, y = numbers.y }
    assert.equal(one:to_PEM(), assert(pkey.new { type = "EC", params = params }):to_PEM())
    params.x = numbers.x + 1
    assert.is_nil((pkey.new { type = "EC", params = params }))
    assert.matches("unknown curve x", select(2, pkey.new { type = "EC", curve = "x" }))
    assert.is_nil((pkey.new { type = "RSA", bits = 1 }))
  end)
end)
