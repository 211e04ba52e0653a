describe("ngx", function()
  it("encodes and decodes base 64", function()
    assert.equal("aGk=", ngx.encode_base64("hi"))
    assert.equal("aGk", ngx.encode_base64("hi", true))
    assert.equal("hi", ngx.decode_base64("aGk"))
    assert.is_nil(ngx.decode_base64("!"))
    assert.equal("-_8", require("ngx.base64").encode_base64url("\251\255"))
  end)

  it("escapes for URIs", function()
    assert.equal("a%20b%2Fc", ngx.escape_uri("a b/c"))
    assert.equal("a%20b/c?", (ngx.escape_uri("a b/c", 0)) .. "?")
    assert.equal("a b%", ngx.unescape_uri("a+b%"))
    assert.equal("a=1&a=2", ngx.encode_args({ a = { 1, 2 } }))
    assert.same({ a = { "1", "2" }, b = true, c = "" }, (ngx.decode_args("a=1&a=2&b&c=&=x")))
    assert.equal("truncated", (select(2, ngx.decode_args("a=1&b=2", 1))))
  end)

  it("encodes the values of a table within, and refuses what is no argument", function()
    assert.equal("a=1", ngx.encode_args { a = { b = 1 } })
    assert.equal("a&a=x%20y", ngx.encode_args { a = { true, "x y", false } })
    for told, args in pairs {
      ["attempt to use table as query arg value"] = { a = { b = {} } },
      ['attempt to use a non-string key in the "args" option table'] = { 5, 6 },
      ["attempt to use userdata as query arg value"] = { a = ngx.null },
    } do
      assert.matches(told, assert.has_error(function() ngx.encode_args(args) end), 1, true)
    end
  end)

  it("takes any value for its text, and nothing for an empty one", function()
    assert.same({ "", "" }, { ngx.encode_base64(nil), ngx.escape_uri(false) })
    assert.equal("1e%2B15", ngx.escape_uri(1e15))
    assert.matches("^table", ngx.unescape_uri {})
    assert.equal("d41d8cd98f00b204e9800998ecf8427e", ngx.md5())
  end)

  it("refuses what C would not take", function()
    local function refused(f, ...)
      local args = { ... }
      return assert.has_error(function() f(unpack(args)) end)
    end
    assert.matches("string expected, got boolean", refused(ngx.decode_args, true))
    assert.matches("table expected, got string", refused(ngx.encode_args, "a"))
    assert.matches("expecting one argument", refused(ngx.quote_sql_str))
    assert.matches("string expected, got table", refused(ngx.hmac_sha1, "k", {}))
    assert.matches("number argument only", refused(ngx.http_time, "x"))
    assert.matches("string argument only", refused(ngx.parse_http_time, 1))
    assert.matches("bad no_padding: boolean expected", refused(ngx.encode_base64, "a", 1))
  end)

  it("reads base 64 as far as its padding", function()
    assert.equal("a", ngx.decode_base64 "YQ==YQ==")
    local bytes, err = require("ngx.base64").decode_base64url "+/8"
    assert.same({ nil, "invalid input" }, { bytes, err })
  end)

  it("makes digests and checksums", function()
    assert.equal("5d41402abc4b2a76b9719d911017c592", ngx.md5("hello"))
    assert.equal(20, #ngx.sha1_bin(""))
    assert.equal(0xcbf43926, ngx.crc32_long("123456789"))
  end)

  it("reads and writes times", function()
    assert.equal("Thu, 18 Nov 2010 11:27:35 GMT", ngx.http_time(1290079655))
    assert.equal("Thu, 18-Nov-10 11:27:35 GMT", ngx.cookie_time(1290079655))
    assert.equal(1290079655, ngx.parse_http_time("Thu, 18 Nov 2010 11:27:35 GMT"))
    assert.is_nil(ngx.parse_http_time("yesterday"))
    assert.matches("^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d$", ngx.utctime())
  end)
end)
