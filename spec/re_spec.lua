describe("ngx.re", function()
  local re = ngx.re

  it("matches with numbered and named groups", function()
    assert.same({ [0] = "123", "1", "23" }, re.match("hello 123", [[(\d)(\d+)]]))
    local found = re.match("k=v", [[(?<key>\w)=(?<val>\w)]], "jo")
    assert.equal("k", found.key)
    assert.equal("v", found.val)
    assert.equal(false, re.match("b", "(a)?b")[1])
    assert.is_nil((re.match("x", "y")))
  end)

  it("understands what PCRE does and RE2 does not", function()
    assert.equal("42", re.match("price: $42", [[(?<=\$)\d+]])[0])
    assert.equal("abab", re.match("abab", [[(ab)\1]])[0])
  end)

  it("begins where the context says, and says where it ended", function()
    local ctx = { pos = 3 }
    assert.equal("2b", re.match("1a 2b", [[\d\w]], "", ctx)[0])
    assert.equal(6, ctx.pos)
    assert.is_nil((re.match("1a", [[\d]], "", { pos = 99 })))
  end)

  it("tells what is wrong with a pattern or an option", function()
    local found, err = re.match("x", "(")
    assert.is_nil(found)
    assert.matches("^pcre2_compile%(%) failed: missing closing parenthesis", err)
    assert.matches('unknown flag "q"', assert.has_error(function() re.match("a", "a", "q") end))
  end)

  it("finds places", function()
    local from, to = re.find("hello 42", [[(\d)(\d)]], "jo", nil, 2)
    assert.same({ 8, 8 }, { from, to })
    assert.same({ 1, 0 }, { re.find("abc", "") })
    assert.is_nil((re.find("a", "b")))
  end)

  it("replaces with templates and functions", function()
    assert.equal("hello, [12][1]34", (re.sub("hello, 1234", "([0-9])[0-9]", "[$0][$1]")))
    assert.equal("a00 $ xb", (re.sub("ab", "(a)", "${1}00 $$ x")))
    local text, count = re.gsub("a1b22c", [[\d+]], "#")
    assert.equal("a#b#c", text)
    assert.equal(2, count)
    assert.equal("-a-b-c-", (re.gsub("abc", "", "-")))
    assert.equal("$0", (re.gsub("a", "a", function() return "$0" end)))
    local _, _, err = re.gsub("a", "a", "$")
    assert.equal("failed to compile the replacement template", err)
  end)

  it("walks over all matches", function()
    local all = {}
    for found in re.gmatch("a1 b2", [[(\w)(\d)]]) do
      all[#all + 1] = found[1] .. found[2]
    end
    assert.same({ "a1", "b2" }, all)
    local n = 0
    for _ in re.gmatch("ab", "") do
      n = n + 1
    end
    assert.equal(3, n)
  end)

  it("splits", function()
    local split = require("ngx.re").split
    assert.same({ "a", "b", "c" }, split("a,b;c", "[,;]"))
    assert.same({ "a", "1", "b", "2", "c" }, split("a1b2c", [[(\d)]]))
    assert.same({ "a", "b,c,d" }, split("a,b,c,d", ",", nil, nil, 2))
    assert.same({ "a", "b", "c" }, split("abc", ""))
    assert.same({ "a", "", "b" }, split("a,,b,,", ","))
  end)

  it("refuses patterns and options that are no texts", function()
    local told = assert.has_error(function() ngx.re.match("a", nil) end)
    assert.matches("attempt to get length of local 'regex' %(a nil value%)", told)
    told = assert.has_error(function() ngx.re.find("a", "a", 1) end)
    assert.matches("attempt to get length of local 'opts' %(a number value%)", told)
    told = assert.has_error(function() ngx.re.match("a", "a", "", { pos = "1" }) end)
    assert.matches("attempt to compare string with number", told)
  end)

  it("says when it is to begin behind the end", function()
    assert.equal("pcre_exec() failed: -33", (select(2, ngx.re.match("a", "a", "", { pos = 9 }))))
  end)

  it("lists what names stand for where they may stand for several", function()
    assert.same({ "a" }, ngx.re.match("aa", "(?<n>a)(?<m>x)?a", "D").n)
    assert.is_nil(ngx.re.match("aa", "(?<n>a)(?<m>x)?a", "D").m)
  end)

  it("replaces by a function that may wait or fail", function()
    local function slowly(captures)
      ngx.sleep(0)
      return captures[0] .. captures[0]
    end
    assert.same({ "aabb", 2 }, { ngx.re.gsub("ab", ".", slowly) })
    assert.same({ "aab", 1 }, { ngx.re.sub("ab", ".", slowly) })
    local failure = {}
    local ok, err = pcall(ngx.re.gsub, "a", "a", function() error(failure) end)
    assert.is_true(not ok and err == failure)
  end)
end)
