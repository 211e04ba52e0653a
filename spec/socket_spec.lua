-- Texts and results are those of OpenResty's own sockets.

local function connected(script)
  local sock = ngx.socket.tcp()
  sock:settimeout(5000)
  assert(sock:connect("127.0.0.1", peers.scripted))
  if script then
    assert(sock:send(script .. "\n"))
  end
  return sock
end

-- What a call gives, or how it fails, as one text.
local function told(f, ...)
  local function text(...)
    local parts = { ... }
    for i = 1, select("#", ...) do
      parts[i] = tostring(parts[i]):gsub("^.-%.lua:%d+: ", "")
    end
    return table.concat(parts, "|")
  end
  return text(select(2, pcall(f, ...)))
end

local function closed_port()
  -- Port 1 is reserved, and nobody listens there.
  return 1
end

describe("a TCP socket", function()
  it("is a table whose methods can be replaced", function()
    local sock = ngx.socket.tcp()
    assert.equal("table", type(sock))
    sock.connect = function() return nil, "mine" end
    assert.equal("mine", (select(2, sock:connect())))
    assert.equal("expecting zero arguments, but got 1", told(ngx.socket.tcp, 1))
  end)

  it("says why it does not connect", function()
    local function connect(...)
      local args, n = { ... }, select("#", ...)
      return told(function()
        local sock = ngx.socket.tcp()
        local ok, err = sock:connect(unpack(args, 1, n))
        return ok, err
      end)
    end
    local seen = "ngx.socket connect: expecting 2, 3, or 4 arguments " ..
      "(including the object), but seen 1"
    assert.equal(seen, connect())
    assert.equal("nil|missing the port number", connect("127.0.0.1"))
    assert.equal("nil|missing the port number", connect("127.0.0.1", "x"))
    assert.equal("nil|bad port number: 70000", connect("127.0.0.1", 70000))
    assert.equal("nil|bad port number: -1", connect("127.0.0.1", -1))
    assert.equal("bad argument #1 to 'connect' (string expected, got nil)", connect(nil, 80))
    assert.equal("nil|connection refused", connect("127.0.0.1", closed_port()))
    assert.equal("nil|no such file or directory", connect("unix:/no/such.sock"))
    assert.equal('nil|failed to parse host name "": no host', connect("", 80))
    assert.equal('nil|failed to parse host name "unix:": no path in the unix domain socket',
      connect("unix:"))
    assert.matches("^nil|%[cosocket%] DNS resolution failed: no such name",
      connect("nowhere.test", 80))
    for option, text in pairs {
      pool_size = 'bad argument #3 to \'connect\' (bad "pool_size" option value: 0)',
      backlog = 'bad argument #3 to \'connect\' (bad "backlog" option type: string)',
      pool = 'bad argument #3 to \'connect\' (bad "pool" option type: table)',
    } do
      local values = { pool_size = 0, backlog = "x", pool = {} }
      assert.equal(text, connect("127.0.0.1", peers.scripted, { [option] = values[option] }))
    end
    assert.equal("1|nil", connect("127.0.0.1", tostring(peers.scripted)))
    assert.equal("1|nil", connect("a.test", peers.scripted))
    assert.equal("nil|connection refused", connect("169.254.169.254", 80))
  end)

  it("sends texts, numbers and nested tables", function()
    local sock = connected()
    assert.equal(9, sock:send({ "say ", 1, { "2", { "34" } }, "\n" }))
    assert.equal("1234", sock:receive(4))
    assert.equal(3, sock:send(nil))
    assert.equal(4, sock:send(true))
    assert.equal(4, sock:send(12.5))
    assert.equal(0, sock:send(""))
    local function send(...)
      return told(function(...) local ok, err = sock:send(...) return ok, err end, ...)
    end
    assert.equal("bad argument #1 to 'send' (non-array table found)", send({ x = 1 }))
    assert.equal("bad argument #1 to 'send' (bad data type boolean found)", send({ true }))
    assert.equal("bad argument #1 to 'send' (bad data type nil found)", send({ "a", nil, "b" }))
    assert.equal("bad argument #1 to 'send' (string, number, boolean, nil, or array table " ..
      "expected, got userdata)", send(ngx.null))
    assert.equal("expecting 2 arguments (including the object), but got 1", send())
    local loop = {}
    loop[1] = loop
    assert.equal("bad argument #1 to 'send' (table nested too deep)", send(loop))
    sock:close()
    assert.equal("nil|closed", send("x"))
    assert.equal("nil|closed", told(function() return ngx.socket.tcp():send("x") end))
  end)

  it("reads lines, counts and everything", function()
    local function receive(script, ...)
      return told(function(...)
        local sock = connected(script)
        local data, err, partial = sock:receive(...)
        return data, err, partial
      end, ...)
    end
    local script = "say hel\\rlo\\r\\r\\nworld|close"
    assert.equal("hello|nil|nil", receive(script, "*l"))
    assert.equal("hello|nil|nil", receive(script))
    assert.equal("hel\rlo\r\r\nworld|nil|nil", receive(script, "*a"))
    assert.equal("hel\rl|nil|nil", receive(script, 5))
    assert.equal("hel\rl|nil|nil", receive(script, "5"))
    assert.equal("|nil|nil", receive(script, 0))
    local bad = "bad argument #1 to 'receive' (bad pattern argument"
    assert.equal(bad .. ")", receive(script, -1))
    assert.equal(bad .. ")", receive(script, nil))
    assert.equal(bad .. ")", receive(script, "*x"))
    assert.equal(bad .. ": x)", receive(script, "x"))
    assert.equal("nil|closed|abc", receive("say abc|close", 10))
    assert.equal("nil|closed|abc", receive("say abc|close", "*l"))
    assert.equal("nil|closed|", receive("close", "*l"))
    assert.equal("nil|connection reset by peer|", receive("reset", "*a"))
    assert.equal("nil|closed|nil", told(function()
      local data, err, partial = ngx.socket.tcp():receive()
      return data, err, partial
    end))
  end)

  it("reads nothing after the end", function()
    local sock = connected("say abc|close")
    assert.equal("nil|closed|abc", told(sock.receive, sock, "*l"))
    assert.equal("nil|closed", told(sock.receive, sock, "*l"))
    assert.equal(1, sock:close())
    assert.equal("nil|closed", told(sock.close, sock))
    sock = connected("say abc|close")
    assert.equal("abc", sock:receive("*a"))
    assert.equal("", sock:receive("*a"))
  end)

  it("goes on after a timeout", function()
    local sock = connected("say abc")
    sock:settimeouts(5000, 5000, 30)
    assert.equal("nil|timeout|abc", told(sock.receive, sock, "*a"))
    assert.equal("nil|timeout|", told(sock.receiveany, sock, 9))
    sock:settimeout(5000)
    sock:send("say de|close\n")
    assert.equal("de", sock:receive("*a"))
    assert.equal("bad timeout value", told(sock.settimeout, sock, -1))
    assert.equal("ngx.socket settimeout: expecting 4 arguments (including the object) " ..
      "but seen 3", told(sock.settimeouts, sock, 1, 2))
  end)

  it("gives what is there", function()
    local sock = connected("say abcdef|close")
    assert.equal("abc", sock:receiveany(3))
    assert.equal("def", sock:receiveany("100"))
    assert.equal("nil|closed|", told(sock.receiveany, sock, 3))
    assert.equal("nil|closed", told(sock.receiveany, sock, 3))
    assert.equal("bad argument #1 to 'receiveany' (bad max argument)",
      told(sock.receiveany, sock, 0))
  end)

  it("reads up to a pattern", function()
    local sock = connected("say hello, world! --abcedhb blah--abcedhxx|close")
    local read = sock:receiveuntil("--abcedhb")
    assert.equal("hello, world! ", read())
    assert.equal(" blah--abcedhxx", sock:receive("*a"))
    sock = connected("say hello, world! --abcedhb blah --abcedhb rest|close")
    read = sock:receiveuntil("--abcedhb")
    local pieces = {}
    for i = 1, 9 do
      pieces[i] = tostring((read(4)))
    end
    assert.equal("hell;o, w;orld;! ;nil; bla;h ;nil; res", table.concat(pieces, ";"))
    sock = connected("say abcd--rest--|close")
    read = sock:receiveuntil("--", { inclusive = true })
    assert.equal("abcd|--|nil|rest--", table.concat({
      read(4), read(4), tostring((read(4))), read() }, "|"))
    sock = connected("say a--|close")
    read = sock:receiveuntil("--end")
    assert.equal("nil|closed|a", told(read))
    assert.equal("nil|closed", told(read))
    assert.equal("nil|pattern is empty", told(sock.receiveuntil, sock, ""))
    assert.equal('bad "inclusive" option value type: number',
      told(sock.receiveuntil, sock, "x", { inclusive = 5 }))
  end)

  it("meets a pattern that comes in two pieces", function()
    local sock = connected("say abc--")
    sock:settimeout(30)
    local read = sock:receiveuntil("--end")
    assert.equal("nil|timeout|abc", told(read))
    sock:settimeout(5000)
    sock:send("say xy--|say end|close\n")
    assert.equal("--xy", read())
  end)

  it("is kept for others", function()
    local options = { pool = "kept", pool_size = 2 }
    local function open()
      local sock = ngx.socket.tcp()
      assert(sock:connect("127.0.0.1", peers.scripted, options))
      return sock
    end
    local sock = open()
    assert.equal(0, sock:getreusedtimes())
    assert.equal(1, sock:setkeepalive(10000, 5))
    assert.equal("nil|closed", told(sock.send, sock, "x"))
    assert.equal("nil|closed", told(sock.setkeepalive, sock))
    assert.equal("nil|closed", told(sock.getreusedtimes, sock))
    local other = open()
    assert.equal(1, other:getreusedtimes())
    other:send("say abc\n")
    other:receive(2)
    assert.equal("nil|unread data in buffer", told(other.setkeepalive, other))
    assert.equal("c", other:receive(1))
    other:send("close\n")
    other:receive("*a")
    assert.equal("nil|closed", told(other.setkeepalive, other))
    other:close()
    assert.equal(0, open():getreusedtimes())
    assert.equal("bad argument #1 to 'setkeepalive' (number expected, got string)",
      told(other.setkeepalive, other, "x"))
    assert.equal("bad argument #2 to 'setkeepalive' (bad \"pool_size\" option value: 0)",
      told(other.setkeepalive, other, 1, 0))
  end)

  it("waits for its turn in a full pool", function()
    local options = { pool = "full", pool_size = 1, backlog = 1 }
    local function connect(sock)
      local ok, err = sock:connect("127.0.0.1", peers.scripted, options)
      return ok, err, ok and sock:getreusedtimes()
    end
    local first, second, third = ngx.socket.tcp(), ngx.socket.tcp(), ngx.socket.tcp()
    assert.equal(1, (connect(first)))
    second:settimeout(30)
    local waits = ngx.thread.spawn(connect, second)
    assert.equal("nil|too many waiting connect operations|nil", told(connect, third))
    assert.equal("true|nil|timeout|nil", told(ngx.thread.wait, waits))
    waits = ngx.thread.spawn(connect, third)
    first:setkeepalive()
    assert.equal("true|1|nil|1", told(ngx.thread.wait, waits))
    waits = ngx.thread.spawn(connect, first)
    third:close()
    assert.equal("true|1|nil|0", told(ngx.thread.wait, waits))
  end)

  it("reads and writes in two threads and nothing else", function()
    local sock = connected()
    local reader = ngx.thread.spawn(function() return sock:receive(3) end)
    assert.equal("nil|socket busy reading", told(sock.receive, sock, 1))
    assert.equal("nil|socket busy reading", told(sock.close, sock))
    assert.equal("nil|socket busy reading", told(sock.setkeepalive, sock))
    assert.equal("nil|socket busy reading",
      told(sock.connect, sock, "127.0.0.1", peers.scripted))
    assert.equal("nil|socket busy reading", told(sock.sslhandshake, sock))
    sock:send("say abc\n")
    assert.equal("true|abc", told(ngx.thread.wait, reader))
  end)

  it("is free again when the thread that reads from it is killed", function()
    collectgarbage("stop")
    local sock = connected()
    local reader = ngx.thread.spawn(function() return sock:receive(3) end)
    ngx.thread.kill(reader)
    while told(sock.receive, sock, 0) == "nil|socket busy reading" do
      ngx.sleep(0.001)
    end
    sock:send("say abc\n")
    assert.equal("abc", sock:receive(3))
    collectgarbage("restart")
  end)

  it("belongs to its maker", function()
    local sock, got = connected("say abc"), {}
    ngx.timer.at(0, function()
      got.receive = told(sock.receive, sock)
      got.send = told(sock.send, sock, "x")
      got.close = told(sock.close, sock)
      got.connect = told(sock.connect, sock, "127.0.0.1", peers.scripted)
      got.own = connected()
      got.done = true
    end)
    while not got.done do
      ngx.sleep(0.001)
    end
    for _, name in ipairs { "receive", "send", "close", "connect" } do
      assert.equal("bad request", got[name], name)
    end
    -- What a timer has open ends with it.
    while told(got.own.getreusedtimes, got.own) ~= "nil|closed" do
      ngx.sleep(0.001)
    end
    assert.equal("abc", sock:receive(3))
  end)

  it("has options", function()
    local sock = connected()
    assert.is_true(sock:setoption("keepalive", true))
    assert.equal(1, sock:getoption("keepalive"))
    assert.is_true(sock:setoption("tcp-nodelay", false))
    assert.equal(0, sock:getoption("tcp-nodelay"))
    assert.equal("nil|unsupported option x", told(sock.setoption, sock, "x", 1))
    assert.equal('nil|missing the "option" argument', told(sock.setoption, sock))
    assert.equal('nil|missing the "value" argument', told(sock.setoption, sock, "sndbuf"))
  end)

  it("is made and connected at once", function()
    local sock = ngx.socket.connect("127.0.0.1", peers.scripted)
    assert.equal(1, sock:close())
    assert.equal("nil|connection refused", told(ngx.socket.connect, "127.0.0.1", closed_port()))
  end)
end)

describe("TLS", function()
  local function shake(port, ...)
    local sock = ngx.socket.tcp()
    sock:settimeout(5000)
    assert(sock:connect("127.0.0.1", port))
    local session, err = sock:sslhandshake(...)
    return session, err, sock
  end

  it("speaks to those who are trusted", function()
    local session, err, sock = shake(peers.tls, nil, "a.test", true)
    assert.is_nil(err)
    assert.equal("userdata", type(session))
    sock:send("GET /there HTTP/1.1\r\n\r\n")
    assert.equal("HTTP/1.1 200 OK", sock:receive())
    assert.is_true((shake(peers.tls, false, nil, true)))
    assert.is_true((shake(peers.own, false, "any.test", false)))
  end)

  it("refuses others in OpenSSL's words", function()
    local session, err, sock = shake(peers.own, false, "other.test", true)
    assert.same({ nil, "18: self-signed certificate" }, { session, err })
    assert.equal("nil|closed", told(sock.send, sock, "x"))
    session, err = shake(peers.tls, false, "b.test", true)
    assert.same({ nil, "certificate host mismatch" }, { session, err })
    sock = connected()
    sock:send("say nonsense nonsense nonsense|close\n")
    assert.equal("nil|handshake failed", told(sock.sslhandshake, sock, false))
    sock = connected()
    sock:settimeout(30)
    assert.equal("nil|timeout", told(sock.sslhandshake, sock, false))
    assert.equal("nil|closed", told(sock.sslhandshake, ngx.socket.tcp()))
  end)

  it("shows a certificate", function()
    local ssl, sock = require "ngx.ssl", ngx.socket.tcp()
    assert.equal("nil|bad cert arg: cdata expected, got number",
      told(sock.setclientcert, sock, 1, 2))
    assert.is_true(sock:setclientcert(nil, nil))
    assert.is_nil((ssl.parse_pem_cert("x")))
    assert.is_nil((ssl.parse_pem_priv_key("x")))
  end)
end)

describe("a UDP socket", function()
  it("sends and receives", function()
    local sock = ngx.socket.udp()
    sock:settimeout(5000)
    assert.equal("nil|closed", told(sock.send, sock, "x"))
    assert.equal(1, sock:setpeername("127.0.0.1", peers.echo))
    assert.equal(1, sock:send({ "pi", { "ng" } }))
    assert.equal("pong:ping", sock:receive())
    sock:send("long")
    assert.equal("pong", sock:receive(4))
    sock:settimeout(30)
    sock:send("quiet")
    assert.equal("nil|timeout", told(sock.receive, sock))
    assert.equal(1, sock:close())
    assert.equal("nil|closed", told(sock.close, sock))
    assert.equal("nil|closed", told(sock.receive, sock))
  end)

  it("is used by one at a time, and by its maker", function()
    local sock, got = ngx.socket.udp(), nil
    sock:setpeername("127.0.0.1", peers.echo)
    local reader = ngx.thread.spawn(function() return sock:receive() end)
    assert.equal("nil|socket busy", told(sock.setpeername, sock, "127.0.0.1", peers.echo))
    assert.equal("nil|socket busy", told(sock.receive, sock))
    ngx.thread.kill(reader)
    ngx.timer.at(0, function()
      got = told(sock.setpeername, sock, "127.0.0.1", peers.echo)
    end)
    while not got do
      ngx.sleep(0.001)
    end
    assert.equal("bad request", got)
    assert.equal(1, sock:setpeername("127.0.0.1", peers.echo))
    sock:send("ping")
    assert.equal("pong:ping", sock:receive())
  end)

  it("says what is wrong", function()
    local sock = ngx.socket.udp()
    assert.equal("nil|bad port number: 70000", told(sock.setpeername, sock, "127.0.0.1", 70000))
    assert.equal("nil|no such file or directory", told(sock.setpeername, sock, "unix:/no/such"))
    assert.equal("ngx.socket.udp setpeername: expecting 2 or 3 arguments " ..
      "(including the object), but seen 1", told(sock.setpeername, sock))
  end)
end)

describe("kong.resty.dns.client", function()
  local client = require "kong.resty.dns.client"

  it("resolves names", function()
    assert.same({ "127.0.0.1", peers.echo, {} }, { client.toip("a.test", peers.echo) })
    assert.same({ "10.0.0.1", 80, {} }, { client.toip("10.0.0.1", 80) })
    assert.same({ nil, "no such name", {} }, { client.toip("nowhere.test", 80) })
    assert.equal(client.toip, kong.dns.toip)
    assert.equal("10.0.0.1", kong.dns.resolve("10.0.0.1")[1].address)
    assert.same({ nil, "no such name", {} }, { kong.dns.resolve("nowhere.test") })
  end)
end)
