describe("lyaml", function()
  local lyaml = require "lyaml"

  it("reads YAML 1.1", function()
    local text = [[
a: &x {b: 1, c: [yes, ~, "1", 0x1f, 010, 1_000, 1:30, .inf]}
d: *x
e:
  <<: *x
  b: two
f: !!str 12
g: |
  two
  lines
]]
    local value = lyaml.load(text)
    assert.same({ true, lyaml.null, "1", 31, 8, 1000, 90, math.huge }, value.a.c)
    assert.is_true(value.d == value.a)
    assert.equal("two", value.e.b)
    assert.is_true(value.e.c == value.a.c)
    assert.same({ "12", "two\nlines\n" }, { value.f, value.g })
    assert.same({ 1, 2 }, lyaml.load("--- 1\n--- 2\n", { all = true }))
    assert.is_nil(lyaml.load(""))
  end)

  it("says where a text is wrong", function()
    assert.matches("^%d+:%d+: ", assert.has_error(function() lyaml.load("a: [1") end))
    assert.has_error(function() lyaml.load("a: *none") end)
  end)

  it("writes what it reads back", function()
    local value = {
      list = { 1, { a = { "x", "y" } }, {}, { { 1 } } }, text = "a: b", word = "yes", number = "12",
      lines = "one\ntwo", empty = "", flag = true, none = lyaml.null, quote = "it's", dash = "- a",
      nested = { deep = { deeper = 0.5 } },
    }
    local text = lyaml.dump { value }
    assert.equal("---\n", text:sub(1, 4))
    assert.same(value, lyaml.load(text))
    assert.equal("--- 1\n...\n", lyaml.dump { 1 })
    assert.has_error(function()
      local loop = {}
      loop.self = loop
      lyaml.dump { loop }
    end)
  end)
end)

describe("resty.ada", function()
  local ada = require "resty.ada"

  it("takes URLs apart and changes them", function()
    local url = assert(ada.parse("https://u:p@EXAMPLE.com:8080/a/../b?x=1#h"))
    assert.equal("https://u:p@example.com:8080/b?x=1#h", url:get_href())
    assert.same({ "example.com", 8080, "/b" },
      { url:get_hostname(), url:get_port(), url:get_pathname() })
    assert.equal("https://u:p@example.com:8080/c%20d?y",
      url:set_pathname("/c d"):set_search("y"):clear_hash():get_href())
    assert.same({ nil, "invalid url" }, { ada.parse("no url") })
    assert.equal("https://a.test/?k=2", ada.search_set("https://a.test/?k=1", "k", "2"))
  end)
end)

describe("resty.template", function()
  local template = require "resty.template"

  it("fills in what is escaped and what is not", function()
    local text = "{{a}} {*a*} {% for _, x in ipairs(list) do %}[{{x}}]{% end %}{# no #} \\{{a}}"
    assert.equal("&lt;b&gt; <b>[1][2] {{a}}",
      template.process(text, { a = "<b>", list = { 1, 2 } }))
    assert.equal("{{raw}}", template.process("{-raw-}{{raw}}{-raw-}", {}))
    local view = template.new("in: {{x}}", "<{*view*}>")
    view.x = 1
    assert.equal("<in: 1>", tostring(view))
  end)
end)

describe("multipart", function()
  local Multipart = require "multipart"

  it("reads, changes and writes forms", function()
    local body = '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x\r\n'
      .. 'Content-Disposition: form-data; name="f"; filename="n"\r\n'
      .. "Content-Type: text/plain\r\n\r\n"
      .. "line\r\n\r\nlast\r\n--x--\r\n"
    local form = Multipart(body, "multipart/form-data; boundary=x")
    assert.same({ a = "1", f = "line\r\n\r\nlast" }, form:get_all())
    assert.equal(body, form:tostring())
    form:delete("a")
    form:set_simple("b", "2")
    assert.same({ f = "line\r\n\r\nlast", b = "2" }, form:get_all())
  end)
end)

describe("resty.url and resty.timerng", function()
  it("split and join", function()
    local url = require "resty.url"
    assert.same({ "https", "u", "p", "h", "8443", "/x" }, url.split("https://u:p@h:8443/x"))
    assert.equal("http://h/a/b", url.join("http://h/", "/a", "b"))
  end)

  it("run, pause and stop named timers", function()
    local timers = require("resty.timerng").new()
    local count = 0
    assert.equal("mine", timers:named_every("mine", 0.001, function() count = count + 1 end))
    assert.same({ false, "already exists timer" }, { timers:named_at("mine", 1, function() end) })
    while count < 2 do
      ngx.sleep(0.001)
    end
    assert.is_true(timers:pause("mine"))
    local before = count
    ngx.sleep(0.01)
    assert.equal(before, count)
    assert.is_true(timers:cancel("mine"))
    assert.same({ false, "timer not found" }, { timers:cancel("mine") })
    assert.equal(0, timers:stats().sys.total)
  end)
end)
