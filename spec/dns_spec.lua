-- `resty.dns.resolver`, over the sockets of the runtime.

local resolver = require "resty.dns.resolver"

describe("resty.dns.resolver", function()
  local r

  before_each(function()
    r = assert(resolver:new { nameservers = { { "127.0.0.1", peers.dns } }, retrans = 2,
                              timeout = 2000 })
  end)

  it("asks for addresses, and follows no name by itself", function()
    assert.same({
      { name = "a.test", type = r.TYPE_CNAME, class = 1, ttl = 60, section = 1, cname = "b.test" },
      { name = "a.test", type = r.TYPE_A, class = 1, ttl = 60, section = 1,
        address = "127.0.0.9" },
    }, r:query("a.test"))
    assert.equal("2001:db8::1", r:query("six.test", { qtype = r.TYPE_AAAA })[1].address)
  end)

  it("reads other kinds of records", function()
    local service = r:query("srv.test", { qtype = r.TYPE_SRV })[1]
    assert.same({ 1, 2, 8080, "a.test" },
      { service.priority, service.weight, service.port, service.target })
    assert.same({ "one", "two" }, r:query("txt.test", { qtype = r.TYPE_TXT })[1].txt)
  end)

  it("asks over TCP for what is too long", function()
    assert.equal("127.0.0.8", r:query("big.test")[1].address)
    assert.equal("127.0.0.8", r:tcp_query("big.test")[1].address)
  end)

  it("says that there is no such name", function()
    local answers = assert(r:query("none.test"))
    assert.same({ 3, "name error", 0 }, { answers.errcode, answers.errstr, #answers })
  end)

  it("says why it has no answer", function()
    assert.equal("no nameservers specified", (select(2, resolver:new { nameservers = {} })))
    assert.equal("bad name", (select(2, r:query(".a"))))
    local quiet = assert(resolver:new { nameservers = { { "127.0.0.1", peers.echo } },
                                        retrans = 1, timeout = 20 })
    local tries = {}
    local answers, err = quiet:query("a.test", nil, tries)
    assert.is_nil(answers)
    assert.equal("string", type(err))
    assert.same({ err }, tries)
  end)

  it("writes addresses in other ways", function()
    assert.equal("4.3.2.1.in-addr.arpa", resolver.arpa_str("1.2.3.4"))
    assert.matches("^1%.0%.0%..*%.8%.b%.d%.0%.1%.0%.0%.2%.ip6%.arpa$",
      resolver.arpa_str("2001:db8::1"))
    assert.equal("2001:db8:0:0:0:0:0:1", resolver.expand_ipv6_addr("2001:db8::1"))
    assert.equal("::1", resolver.compress_ipv6_addr("0:0:0:0:0:0:0:1"))
  end)
end)
