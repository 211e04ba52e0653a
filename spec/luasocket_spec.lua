local http = require "socket.http"
local https = require "ssl.https"
local ltn12 = require "ltn12"
local socket = require "socket"

local function uri(path)
  return "http://127.0.0.1:" .. peers.http .. path
end

describe("socket.http", function()
  it("asks for a URL", function()
    local body, code, headers, status = http.request(uri("/echo?a=1"))
    assert.equal(200, code)
    assert.equal("HTTP/1.1 200 OK", status)
    assert.equal(tostring(#body), headers["content-length"])
    assert.matches("^GET /echo%?a=1 HTTP/1.1\r\n", body)
    assert.matches("\r\nUser%-Agent: LuaSocket 3.0.0\r\n", body)
    assert.matches("\r\nTE: trailers\r\n", body)
    assert.matches("\r\nHost: 127.0.0.1:%d+\r\n", body)
  end)

  it("posts a body", function()
    local body = http.request(uri("/echo"), "k=v")
    assert.matches("^POST /echo HTTP/1.1\r\n", body)
    assert.matches("\r\nContent%-Type: application/x%-www%-form%-urlencoded\r\n", body)
    assert.matches("\r\nContent%-Length: 3\r\n", body)
    assert.matches("\r\n\r\nk=v$", body)
  end)

  it("takes sources and sinks", function()
    local pieces = {}
    local ok, code, headers = http.request {
      url = uri("/chunked"),
      sink = ltn12.sink.table(pieces),
      headers = { ["X-Own"] = 1 },
    }
    assert.same({ 1, 200 }, { ok, code })
    assert.is_table(headers)
    assert.equal("abcdefg", table.concat(pieces))
    pieces = {}
    assert.equal(1, (http.request {
      method = "PUT",
      url = uri("/echo"),
      source = ltn12.source.string("four"),
      headers = { ["content-length"] = 4 },
      sink = ltn12.sink.table(pieces),
    }))
    assert.matches("\r\n\r\nfour$", table.concat(pieces))
    local refused = { http.request { url = uri("/echo"), sink = ltn12.sink.error("no room") } }
    assert.same({ nil, "no room" }, refused)
  end)

  it("sends the password of the URL", function()
    local body = http.request("http://me:se%20cret@127.0.0.1:" .. peers.http .. "/echo")
    assert.matches("\r\nAuthorization: Basic bWU6c2UgY3JldA==\r\n", body)
  end)

  it("follows where it is sent", function()
    local body, code, headers = http.request(uri("/moved"))
    assert.equal(200, code)
    assert.matches("^GET /echo%?moved HTTP", body)
    assert.equal(uri("/echo?moved"), headers.location)
    local ok
    ok, code = http.request { url = uri("/moved"), redirect = false }
    assert.same({ 1, 302 }, { ok, code })
  end)

  it("says what went wrong", function()
    assert.same({ nil, "invalid host 'nil'" }, { http.request("http:///x") })
    local ok, problem = http.request("http://127.0.0.1:1/")
    assert.same({ nil, "connection refused" }, { ok, problem })
    assert.same({ nil, "closed" }, { http.request { url = uri("/broken") } })
  end)
end)

describe("ssl.https", function()
  local function secure(path)
    return "https://127.0.0.1:" .. peers.tls .. path
  end

  it("asks anybody unless it is told to verify", function()
    local body, code = https.request(secure("/echo?s"))
    assert.equal(200, code)
    assert.matches("^GET /echo%?s HTTP", body)
    local own = "https://127.0.0.1:" .. peers.own .. "/echo"
    assert.equal(1, (https.request { url = own }))
    assert.is_nil((https.request { url = own, verify = "peer" }))
  end)

  it("never sends in plain text", function()
    http.TIMEOUT = 0.2
    assert.is_nil((https.request(uri("/echo"))))
    http.TIMEOUT = 60
  end)

  it("refuses what LuaSec refuses", function()
    local url = secure("/")
    assert.same({ nil, "proxy not supported" }, { https.request { url = url, proxy = "x" } })
    assert.same({ nil, "redirect not supported" }, { https.request { url = url, redirect = true } })
  end)
end)

describe("socket", function()
  it("connects, sends and receives", function()
    local tcp = socket.tcp()
    assert.equal(1, tcp:settimeout(5))
    assert.equal(1, tcp:connect("127.0.0.1", peers.scripted))
    local order = "say one\\ntwo\n"
    assert.equal(#order, tcp:send(order))
    assert.equal("one", tcp:receive())
    assert.equal("> two", (tcp:receive(3, "> ")))
    order = "? say end|close\n"
    assert.equal(#order, tcp:send(order, 3))
    assert.equal("end", (tcp:receive("*a")))
    assert.equal(1, tcp:close())
  end)

  it("turns raised errors into results", function()
    local closed = 0
    local try = socket.newtry(function() closed = closed + 1 end)
    local call = socket.protect(function(...) return try(...) end)
    assert.same({ 1, 2 }, { call(1, 2) })
    assert.same({ nil, "told" }, { call(nil, "told") })
    assert.equal(1, closed)
    assert.has_error(socket.protect(function() error("other", 0) end), "other")
    assert.equal("c", (socket.skip(2, "a", "b", "c")))
  end)

  it("tells the time", function()
    assert.is_true(math.abs(socket.gettime() - ngx.now()) < 5)
  end)
end)

describe("ltn12", function()
  it("pumps through filters", function()
    assert.equal(ltn12, rawget(_G, "ltn12"))
    local upper = function(piece) return piece and piece:upper() end
    local twice = function(piece) return piece and piece .. piece end
    local sink, pieces = ltn12.sink.table()
    local source = ltn12.source.cat(ltn12.source.string("ab"), ltn12.source.table { "c", "d" })
    assert.equal(1, (ltn12.pump.all(ltn12.source.chain(source, upper, twice), sink)))
    assert.equal("ABABCCDD", table.concat(pieces))
    sink, pieces = ltn12.sink.table()
    ltn12.pump.all(ltn12.source.string("x"), ltn12.sink.chain(upper, twice, sink))
    assert.equal("XX", table.concat(pieces))
  end)

  it("gives back what was put back", function()
    local source = ltn12.source.rewind(ltn12.source.string("b"))
    source("a")
    assert.same({ "a", "b" }, { source(), source() })
    assert.is_nil(source())
  end)
end)
