-- The key and the token are those of Kong's manual.
local KEY = {
  kty = "EC", crv = "P-256", use = "enc",
  x = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
  y = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
  d = "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
}
local TOKEN = "eyJhbGciOiJFQ0RILUVTIiwiZW5jIjoiQTI1NkdDTSIsImFwdSI6Ik1lUFhUS2oyWFR1NUktYldUSFI2bXci"
  .. "LCJhcHYiOiJmUHFoa2hfNkdjVFd1SG5YWFZBclVnIiwiZXBrIjp7Imt0eSI6IkVDIiwiY3J2IjoiUC0yNTYi"
  .. "LCJ4IjoiWWd3eF9NVXRLTW9NYUpNZXFhSjZjUFV1Z29oYkVVc0I1NndrRlpYRjVMNCIsInkiOiIxaEYzYzlR"
  .. "VEhELVozam1vYUp2THZwTGJqcVNaSW9KNmd4X2YtUzAtZ21RIn19..4ZrIopIhLi3LeXyE.-Ke4ofA.MI5lT"
  .. "kML5NIa-Twm-92F6Q"

describe("kong.jwe", function()
  it("opens the token of Kong's manual", function()
    assert.equal("hello", kong.jwe.decrypt(KEY, TOKEN))
    local parts = assert(kong.jwe.decode(TOKEN))
    assert.equal("ECDH-ES", parts.protected.alg)
    assert.equal(TOKEN, table.concat(parts, "."))
    assert.is_nil((kong.jwe.decrypt(KEY, TOKEN:sub(1, -3) .. "AA")))
    assert.is_nil((kong.jwe.decode("a.b")))
    assert.is_nil((kong.jwe.decrypt("no key", TOKEN)))
  end)

  it("opens what it has sealed", function()
    local rsa = require("resty.openssl.pkey").new { type = "RSA", bits = 2048 }
    local secret = ("s"):rep(32)
    for _, case in ipairs {
      { "ECDH-ES", KEY, KEY }, { "RSA-OAEP", rsa:to_PEM("public"), rsa:to_PEM("private") },
      { "dir", secret, secret },
    } do
      local token = assert(kong.jwe.encrypt(case[1], "A256GCM", case[2], "hi"))
      assert.equal("hi", kong.jwe.decrypt(case[3], token))
      local cut = token:gsub("%.[^.]*$", ".")
      assert.is_nil((kong.jwe.decrypt(case[3], cut)))
    end
    assert.is_nil((kong.jwe.encrypt("none", "A256GCM", KEY, "x")))
    assert.is_nil((kong.jwe.encrypt("ECDH-ES", "A256CBC", KEY, "x")))
  end)
end)
