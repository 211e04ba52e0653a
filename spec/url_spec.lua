-- What is expected here is what LuaSocket does.

describe("socket.url", function()
  local url = require "socket.url"

  it("puts URLs together", function()
    assert.equal("http://u:w@a:1/x;p?q#f", url.build {
      scheme = "http", host = "a", port = 1, path = "/x", query = "q", fragment = "f",
      params = "p", user = "u", password = "w" })
    assert.equal("http://[::1]/", url.build { scheme = "http", host = "::1", path = "/" })
    assert.equal("//a", url.build { host = "a" })
    assert.equal("/p", url.build { path = "/p" })
    local text = "https://u@h.test:8443/a/b;p?q=1#f"
    assert.equal(text, url.build(url.parse(text)))
  end)

  it("encodes and decodes", function()
    assert.equal("a%20b%2f%2d_", url.escape("a b/-_"))
    assert.equal("a b/c+%zz", url.unescape("a%20b%2Fc+%zz"))
    local path = url.parse_path("/a/b%20c/")
    assert.same({ "a", "b c", is_absolute = 1, is_directory = 1 }, path)
    assert.equal("/a/b%20c/", url.build_path(path))
    assert.equal("/a/b c/", url.build_path(path, true))
    assert.equal("/", url.build_path(url.parse_path("/")))
  end)

  it("follows links", function()
    for link, expected in pairs {
      ["g"] = "/b/c/g", ["./g"] = "/b/c/g", ["g/"] = "/b/c/g/", ["/g"] = "/g",
      ["?y"] = "/b/c/d;p?y", ["g?y"] = "/b/c/g?y", ["#s"] = "/b/c/d;p?q#s",
      ["g#s"] = "/b/c/g#s", ["g;x"] = "/b/c/g;x", [""] = "/b/c/d;p?q", [".."] = "/b/",
      ["../g"] = "/b/g", ["../.."] = "/", ["../../../g"] = "/g", ["/./g"] = "/g",
    } do
      assert.equal("http://a" .. expected, url.absolute("http://a/b/c/d;p?q", link))
    end
    assert.equal("http://g", url.absolute("http://a/b", "//g"))
    assert.equal("g:h", url.absolute("http://a/b", "g:h"))
    assert.equal("a/c", url.absolute("a/b", "c"))
  end)
end)
