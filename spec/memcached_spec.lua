-- The client for memcached, against a server that is a table of what it answers.

local memcached = require "resty.memcached"

-- A client, and what it has sent. Each command takes the next answer; one without is a timeout.
local function client(answers, options)
  local tcp, sent, waiting = ngx.socket.tcp, {}, ""
  local sock = { closed = false }
  function sock.send(_, data)
    if sock.closed then
      return nil, "closed"
    end
    local text = type(data) == "table" and table.concat(data) or data
    sent[#sent + 1] = text
    waiting = waiting .. (table.remove(answers, 1) or "")
    return #text
  end
  function sock.receive(_, size)
    local at = size or waiting:find("\r\n", 1, true)
    if not at or #waiting < at then
      return nil, "timeout"
    end
    local data = waiting:sub(1, size or at - 1)
    waiting = waiting:sub(size and size + 1 or at + 2)
    return data
  end
  function sock.close()
    sock.closed = true
    return 1
  end
  ngx.socket.tcp = function() return sock end
  local made, err = memcached:new(options)
  ngx.socket.tcp = tcp
  return made, made and sent or err, sock
end

describe("resty.memcached", function()
  it("stores texts, numbers and tables of them under escaped keys", function()
    local memc, sent = client { "STORED\r\n", "STORED\r\n", "NOT_STORED\r\n", "EXISTS\r\n" }
    assert.equal(1, memc:set("a key\r\n", 32))
    assert.equal(1, memc:append("k", { "a ", { "b", 1 } }, 60, 7))
    assert.same({ nil, "NOT_STORED" }, { memc:add("k", "v") })
    assert.same({ nil, "EXISTS" }, { memc:cas("k", "v", "12345678901234567890") })
    assert.same({
      "set a%20key%0D%0A 0 0 2\r\n32\r\n",
      "append k 7 60 4\r\na b1\r\n",
      "add k 0 0 1\r\nv\r\n",
      "cas k 0 0 1 12345678901234567890\r\nv\r\n",
    }, sent)
  end)

  it("reads one value or many, whatever is in them", function()
    local memc, sent = client {
      "VALUE k 5 6\r\nEND\r\n1\r\nEND\r\n", "END\r\n", "VALUE k 0 1 77\r\nv\r\nEND\r\n",
      "VALUE a%20b 0 1\r\n1\r\nVALUE c 3 0\r\n\r\nEND\r\n", "SERVER_ERROR out of memory\r\n",
    }
    assert.same({ "END\r\n1", "5" }, { memc:get("k") })
    assert.same({ n = 3 }, { n = select("#", memc:get("none")) })
    assert.same({ "v", "0", "77" }, { memc:gets("k") })
    assert.same({ ["a b"] = { "1", "0" }, c = { "", "3" } }, (memc:get { "a b", "c", "d" }))
    assert.same({ {} }, { memc:get {} })
    assert.same({ nil, nil, "SERVER_ERROR out of memory" }, { memc:get("k") })
    assert.equal("get a%20b c d\r\n", sent[4])
  end)

  it("counts, touches, deletes and tells of the server", function()
    local memc = client { "18446744073709551615\r\n", "NOT_FOUND\r\n", "TOUCHED\r\n", "DELETED\r\n",
      "OK\r\n", "VERSION 1.6.18\r\n", "STAT pid 1\r\nSTAT uptime 2\r\nEND\r\n", "ERROR\r\n" }
    assert.same({ "18446744073709551615" }, { memc:incr("n", 1) })
    assert.same({ nil, "NOT_FOUND" }, { memc:decr("n", 1) })
    assert.equal(1, memc:touch("k", 10))
    assert.equal(1, memc:delete("k"))
    assert.equal(1, memc:flush_all())
    assert.same({ "1.6.18" }, { memc:version() })
    assert.same({ "STAT pid 1", "STAT uptime 2" }, (memc:stats()))
    assert.same({ nil, "ERROR" }, { memc:stats("nothing") })
  end)

  it("sends what a pipeline has collected at once", function()
    local memc, sent = client { "STORED\r\nVALUE k 0 1\r\nv\r\nEND\r\nNOT_FOUND\r\n" }
    assert.is_nil(memc:init_pipeline())
    assert.equal("already init pipeline", memc:init_pipeline())
    for _, queued in ipairs { memc:set("k", "v"), memc:get("k"), memc:delete("none") } do
      assert.equal(1, queued)
    end
    assert.same({}, sent)
    assert.same({ { 1 }, { "v", "0" }, { nil, "NOT_FOUND" } }, (memc:commit_pipeline()))
    assert.same({ "set k 0 0 1\r\nv\r\nget k\r\ndelete none\r\n" }, sent)
    assert.same({ nil, "no pipeline" }, { memc:commit_pipeline() })
    memc:init_pipeline()
    assert.same({ nil, "no more cmds" }, { memc:commit_pipeline() })
    assert.matches("^bad n arg", memc:init_pipeline("x"))
  end)

  it("closes a connection whose answer is late", function()
    local memc, _, sock = client {}
    assert.same({ nil, nil, "timeout" }, { memc:get("k") })
    assert.is_true(sock.closed)
    assert.same({ nil, nil, nil, "closed" }, { memc:gets("k") })
    memc.sock = nil
    assert.same({ nil, "not initialized" }, { memc:set("k", "v") })
    assert.same({ nil, "not initialized" }, { memc:connect("127.0.0.1", 1) })
  end)

  it("writes keys as key_transform does, and no line of somebody else's", function()
    local plain = function(key) return key end
    local memc, sent = client({ "DELETED\r\n" }, { key_transform = { plain, plain } })
    assert.equal(1, memc:delete("a/b"))
    assert.equal("delete a/b\r\n", sent[1])
    assert.matches("line break", assert.has_error(function() memc:get("k\r\nflush_all") end))
    assert.matches("got nil", assert.has_error(function() memc:set("k", nil) end))
    assert.equal(1, #sent)
    assert.equal("expecting key_transform = { escape, unescape } table",
      (select(2, client({}, { key_transform = {} }))))
  end)
end)
