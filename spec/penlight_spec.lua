-- What is expected here is what Penlight does.

describe("pl.stringx", function()
  local stringx = require "pl.stringx"

  it("looks into texts", function()
    assert.is_true(stringx.isalpha("abc"))
    assert.is_false(stringx.isalpha("ab1"))
    assert.is_false(stringx.isdigit(""))
    assert.is_true(stringx.islower("a b"))
    assert.is_false(stringx.isupper("aB"))
    assert.equal(2, stringx.lfind("abcabc", "b"))
    assert.equal(5, stringx.rfind("abcabc", "b"))
    assert.is_nil(stringx.rfind("abc", "x"))
    assert.equal(2, stringx.count("a.b.c", "."))
    assert.equal("b", stringx.at("abc", 2))
    assert.is_true(stringx.startswith("abc", "ab"))
    assert.is_true(stringx.endswith("abc", "bc"))
  end)

  it("makes new texts", function()
    assert.equal("ab  |", stringx.ljust("ab", 4) .. "|")
    assert.equal("..ab", stringx.rjust("ab", 4, "."))
    assert.equal(" ab  |", stringx.center("ab", 5) .. "|")
    assert.equal("Hello World", stringx.title("hello wORLD"))
    assert.equal("abc...", stringx.shorten("abcdefgh", 6))
    assert.equal("...fgh", stringx.shorten("abcdefgh", 6, true))
    assert.equal("x y", stringx.strip("  x y\n"))
    assert.equal("a-b", (stringx.replace("a.b", ".", "-")))
    assert.equal("a b", stringx.join(" ", { "a", "b" }))
  end)

  it("cuts texts up", function()
    local a, b, c = stringx.partition("a=b=c", "=")
    assert.same({ "a", "=", "b=c" }, { a, b, c })
    a, b, c = stringx.rpartition("a=b=c", "=")
    assert.same({ "a=b", "=", "c" }, { a, b, c })
    local lines = {}
    for line in stringx.lines("a\n\nb\n") do
      lines[#lines + 1] = line
    end
    assert.same({ "a", "", "b" }, lines)
  end)
end)

describe("pl.tablex", function()
  local tablex = require "pl.tablex"

  it("maps and folds", function()
    assert.equal(6, tablex.reduce(function(a, b) return a + b end, { 1, 2, 3 }))
    assert.same({ 11, 22 }, tablex.map2(function(a, b) return a + b end, { 1, 2 }, { 10, 20 }))
    local t = { a = 1 }
    tablex.transform(function(v) return v * 2 end, t)
    assert.same({ a = 2 }, t)
    assert.same({ 1, 2 }, { unpack(tablex.map("#", { "a", "bb" })) })
    assert.same({ 3 }, { unpack(tablex.filter({ 1, 3 }, ">", 2)) })
    assert.same({ "a1" }, tablex.pairmap(function(k, v) return k .. v end, { a = 1 }))
    local seen = {}
    tablex.foreach({ a = 1 }, function(v, k) seen[k] = v end)
    assert.same({ a = 1 }, seen)
  end)

  it("finds and compares", function()
    assert.equal(3, tablex.rfind({ 1, 2, 1 }, 1))
    assert.equal(2, (tablex.find_if({ 1, 5 }, function(v) return v > 3 end)))
    assert.same({ a = 2 }, tablex.difference({ a = 2, b = 1 }, { b = 5 }))
    assert.same({ a = 2 }, tablex.intersection({ a = 2, b = 1 }, { a = 5 }))
    assert.is_true(tablex.compare_no_order({ 1, 2, 2 }, { 2, 1, 2 }))
    assert.is_false(tablex.compare_no_order({ 1, 1, 2 }, { 2, 1, 2 }))
    assert.same({ 1, 3, 5 }, { unpack(tablex.range(1, 5, 2)) })
  end)

  it("changes lists", function()
    assert.same({ 1, 9, 8, 2 }, tablex.insertvalues({ 1, 2 }, 2, { 9, 8 }))
    assert.same({ 1, 4 }, tablex.removevalues({ 1, 2, 3, 4 }, 2, 3))
    assert.same({ { 1, "a" }, { 2, "b" } }, tablex.zip({ 1, 2 }, { "a", "b" }))
    local sub = {}
    for i, value in ipairs(tablex.sub({ 1, 2, 3, 4 }, 2, -2)) do
      sub[i] = value
    end
    assert.same({ 2, 3 }, sub)
    local keys = {}
    for key in tablex.sortv({ a = 3, b = 1 }) do
      keys[#keys + 1] = key
    end
    assert.same({ "b", "a" }, keys)
  end)
end)

describe("pl.utils", function()
  local utils = require "pl.utils"

  it("splits and escapes", function()
    local function split(...)
      local parts = {}
      for i, part in ipairs(utils.split(...)) do
        parts[i] = part
      end
      return parts
    end
    assert.same({ "", "a", "b" }, split("  a b "))
    assert.same({}, split(",", ","))
    assert.same({ "a", "" }, split("a,,", ","))
    assert.same({ "a", "", "b" }, split("a,,b", ","))
    assert.same({ "a", "b.c" }, split("a.b.c", ".", true, 2))
    assert.same({ "", "a" }, split(",a", ","))
    assert.same({ "a" }, split("a,", ","))
    assert.equal("a%.b%+", utils.escape("a.b+"))
    assert.equal(2, utils.choose(false, 1, 2))
    assert.equal(3, select("#", utils.unpack(utils.pack(1, nil, nil))))
    assert.is_true(utils.is_type({}, "table"))
  end)

  it("reads and writes files", function()
    local name = os.tmpname()
    assert.is_true(utils.writefile(name, "one\ntwo\n"))
    assert.equal("one\ntwo\n", utils.readfile(name))
    assert.same({ "one", "two" }, { unpack(utils.readlines(name)) })
    assert.is_true(require("pl.path").isfile(name))
    assert.equal(8, require("pl.path").getsize(name))
    assert.equal("one\ntwo\n", require("pl.file").read(name))
    os.remove(name)
    assert.is_nil((utils.readfile(name)))
    assert.is_false(require("pl.path").isfile(name))
  end)
end)

describe("pl.path", function()
  local path = require "pl.path"

  it("takes names apart and puts them together", function()
    assert.equal("a/b/c", path.join("a", "b", "c"))
    assert.equal("/b", path.join("a", "/b"))
    assert.equal("a/b", path.join("a/", "b"))
    assert.equal("/a", path.dirname("/a/b.c"))
    assert.equal("b.c", path.basename("/a/b.c"))
    assert.equal(".c", path.extension("/a/b.c"))
    assert.same({ "/a/b", ".c" }, { path.splitext("/a/b.c") })
    assert.same({ "a.b/c", "" }, { path.splitext("a.b/c") })
    assert.equal("/a/c", path.normpath("/a/./b/../c"))
    assert.equal("../a", path.normpath("../a/"))
    assert.is_true(path.isdir("/"))
    assert.is_false(path.isdir("/no/such"))
    assert.equal("/x/y", path.abspath("y", "/x"))
  end)
end)

describe("pl.template", function()
  local template = require "pl.template"

  it("runs lines of Lua and fills in values", function()
    local text = "<ul>\n# for i, v in ipairs(list) do\n  <li>$(i) $(v:upper())</li>\n" ..
      "# end\n</ul>\n"
    local env = { list = { "a", "b" }, ipairs = ipairs }
    assert.equal("<ul>\n  <li>1 A</li>\n  <li>2 B</li>\n</ul>\n", template.substitute(text, env))
    local compiled = template.compile("$(a) and $(f(b))")
    assert.equal("1 and 4", compiled:render { a = 1, b = 2, f = function(v) return v * 2 end })
    assert.equal("x 7", (template.substitute("x @{n}", {
      n = 7, _inline_escape = "@", _brackets = "{}" })))
    assert.equal("T", (template.substitute("$(type(1) == 'number' and 'T')", { _parent = _G })))
    assert.equal("  # x\n", (template.substitute("  # x\n", {})))
    assert.equal("a\n", (template.substitute("a\n", {})))
  end)

  it("says what is wrong", function()
    local text, err = template.substitute("$(a.b)", {})
    assert.is_nil(text)
    assert.matches("attempt to index global 'a'", err)
    text, err = template.substitute("# if\n", {})
    assert.is_nil(text)
    assert.equal("string", type(err))
  end)
end)

describe("pl.pretty", function()
  local pretty = require "pl.pretty"

  it("writes and reads tables", function()
    assert.equal('{\n  1,\n  "x",\n  a = {\n    b = true\n  }\n}',
      pretty.write { 1, "x", a = { b = true } })
    assert.equal("{1,a=2}", pretty.write({ 1, a = 2 }, ""))
    assert.equal("{\n}", (pretty.write({})))
    assert.equal('{\n  ["end"] = [[q\n"z]],\n  [4] = 4\n}',
      (pretty.write({ ["end"] = 'q\n"z', [4] = 4 })))
    assert.equal("{\n  [1] = 1\n}", pretty.write({ 1 }, "  ", true))
    assert.same({ a = { 1, 2 } }, (pretty.read("{ a = { 1, 2 } }")))
    assert.is_nil((pretty.read("os.exit()")))
  end)
end)

describe("pl.class", function()
  local class = require "pl.class"

  it("makes classes that inherit", function()
    local Animal = class()
    function Animal:_init(name) self.name = name end
    function Animal:says() return self.name .. " says " .. self:sound() end
    local Dog = class(Animal)
    function Dog:_init(name)
      self:super(name)
      self.tail = true
    end
    function Dog:sound() return "wuff" end
    local rex = Dog("rex")
    assert.equal("rex says wuff", rex:says())
    assert.is_true(rex.tail)
    assert.is_true(rex:is_a(Animal))
    assert.is_true(Dog:class_of(rex))
    assert.is_false(Dog:class_of(Animal("x")))
    local Cat = class(Animal)
    function Cat:sound() return "miau" end
    assert.equal("tom says miau", Cat("tom"):says())
  end)
end)

describe("pl.List", function()
  local List = require "pl.List"

  it("is a list with methods", function()
    local list = List { 3, 1, 2 }
    list:append(5):extend { 4 }
    assert.equal("{3,1,2,5,4}", tostring(list))
    assert.equal("1,2,3,4,5", list:clone():sort():join(","))
    assert.is_true(list:contains(5))
    assert.equal(4, list:pop())
    assert.equal(4, list:len())
    assert.equal("{5,2}", tostring(list:reverse():slice(1, 2)))
    assert.equal("{10,4}", tostring(list:map(function(v) return v * 2 end):slice(1, 2)))
    assert.equal(2, #list:filter(function(v) return v > 2 end))
    assert.is_true(List { 1 } == List { 1 })
    assert.equal("{1,2,3}", tostring(List.range(1, 3)))
    assert.equal("{a,b}", tostring(List.split("a b")))
    assert.equal("{2}", tostring(List({ 1, 2 }):remove_value(1)))
  end)
end)
