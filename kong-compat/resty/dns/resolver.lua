-- A DNS client (RFC 1035) over OpenResty's sockets, with the interface of lua-resty-dns.

local packet = require "silverback.dns_packet"

local _M = {
  _VERSION = "0.23",
  TYPE_A = 1, TYPE_NS = 2, TYPE_CNAME = 5, TYPE_SOA = 6, TYPE_PTR = 12, TYPE_MX = 15,
  TYPE_TXT = 16, TYPE_AAAA = 28, TYPE_SRV = 33, TYPE_SPF = 99,
  CLASS_IN = 1,
  SECTION_AN = 1, SECTION_NS = 2, SECTION_AR = 3,
}

local resolver = { __index = _M }

-- How many answers to other questions are read before a server is given up.
local STRANGERS_MAX = 128

-- Options: nameservers ("1.1.1.1" or { "1.1.1.1", 53 }), retrans, timeout in milliseconds,
-- no_recurse, no_random.
function _M.new(_, options)
  if not options then
    return nil, "no options table specified"
  end
  local servers = options.nameservers
  if not servers or #servers == 0 then
    return nil, "no nameservers specified"
  end
  local timeout = options.timeout or 2000
  local self = {
    servers = {},
    cur = options.no_random and 1 or math.random(#servers),
    retrans = options.retrans or 5,
    no_recurse = options.no_recurse,
    timeout = timeout,
  }
  for i, server in ipairs(servers) do
    local host, port = server, 53
    if type(server) == "table" then
      host, port = server[1], server[2] or 53
    end
    local sock, err = ngx.socket.udp()
    if not sock then
      return nil, "failed to create udp socket: " .. err
    end
    local ok
    ok, err = sock:setpeername(host, port)
    if not ok then
      return nil, "failed to set peer name: " .. err
    end
    sock:settimeout(timeout)
    self.servers[i] = { host = host, port = port, sock = sock }
  end
  return setmetatable(self, resolver)
end

function _M.set_timeout(self, timeout)
  if not self.servers then
    return nil, "not initialized"
  end
  self.timeout = timeout
  for _, server in ipairs(self.servers) do
    server.sock:settimeout(timeout)
  end
end

function _M.destroy(self)
  for _, server in ipairs(self.servers or {}) do
    server.sock:close()
  end
  self.servers = nil
end

-- The server whose turn it is.
local function next_server(self)
  local server = self.servers[self.cur]
  self.cur = self.cur % #self.servers + 1
  return server
end

local function over_tcp(self, server, question, id, options)
  local sock, err = ngx.socket.tcp()
  if not sock then
    return nil, "failed to create tcp socket: " .. err
  end
  sock:settimeout(self.timeout)
  local ok
  ok, err = sock:connect(server.host, server.port)
  if not ok then
    return nil, ("failed to connect to TCP server %s:%s: %s"):format(server.host, server.port, err)
  end
  local function failed(what)
    sock:close()
    return nil, ("failed to %s TCP server %s:%s: %s"):format(what, server.host, server.port, err)
  end
  ok, err = sock:send { packet.number(#question), question }
  if not ok then
    return failed("send query to")
  end
  local head
  head, err = sock:receive(2)
  if not head then
    return failed("receive the reply length field from")
  end
  local answer
  answer, err = sock:receive(packet.read_number(head, 1))
  if not answer then
    return failed("receive the reply message body from")
  end
  sock:close()
  local answers
  answers, err = packet.answers(answer, id, options)
  if not answers then
    return nil, ("failed to parse the response from TCP server %s:%s: %s"):format(server.host,
      server.port, err)
  end
  return answers
end

-- The answer to a question among what a server says; true for one that does not fit.
local function hear(server, id, options)
  for _ = 1, STRANGERS_MAX do
    local answer, err = server.sock:receive(4096)
    if not answer then
      return nil, err
    end
    local answers, is_cut
    answers, err, is_cut = packet.answers(answer, id, options)
    if is_cut then
      return true
    elseif answers then
      return answers
    elseif err ~= "id mismatch" then
      return nil, err, true
    end
  end
  return nil, "too many bad responses from the nameserver", true
end

local function ask(self, server, question, id, options)
  local ok, err = server.sock:send(question)
  if not ok then
    return nil, ("failed to send request to UDP server %s:%s: %s"):format(server.host,
      server.port, err)
  end
  local answers, is_bad
  answers, err, is_bad = hear(server, id, options)
  if answers == true then
    return over_tcp(self, server, question, id, options)
  elseif not answers and not is_bad then
    err = ("failed to receive reply from UDP server %s:%s: %s"):format(server.host, server.port,
      err)
  end
  return answers, err
end

-- A list of answers; with `errcode` and `errstr` if the server has none. `tries` is a list that
-- gets what went wrong on the way.
function _M.query(self, name, options, tries)
  if not self.servers then
    return nil, "not initialized"
  end
  options = options or {}
  local question, id = packet.question(name, options, self.no_recurse)
  if not question then
    return nil, id
  end
  local err
  for _ = 1, self.retrans do
    local server = next_server(self)
    local answers
    answers, err = ask(self, server, question, id, options)
    -- A server that has failed is not the last one to be asked.
    if answers and (answers.errcode == nil or answers.errcode == 3) then
      return answers, nil, tries
    end
    if tries then
      tries[#tries + 1] = err or answers.errstr
    end
    if answers then
      err = nil
      if #self.servers == 1 then
        return answers, nil, tries
      end
      self.last = answers
    end
  end
  if not err and self.last then
    return self.last, nil, tries
  end
  return nil, err, tries
end

function _M.tcp_query(self, name, options)
  if not self.servers then
    return nil, "not initialized"
  end
  options = options or {}
  local question, id = packet.question(name, options, self.no_recurse)
  if not question then
    return nil, id
  end
  return over_tcp(self, next_server(self), question, id, options)
end

_M.compress_ipv6_addr = packet.compressed

function _M.expand_ipv6_addr(address)
  local groups = packet.groups(address)
  return groups and table.concat(groups, ":") or address
end

-- The name under which the names of an address are.
function _M.arpa_str(address)
  local groups = address:find(":", 1, true) and packet.groups(address)
  if groups then
    local digits = {}
    for i, group in ipairs(groups) do
      digits[i] = ("%04x"):format(tonumber(group, 16))
    end
    return table.concat(digits):reverse():gsub("%x", "%0.") .. "ip6.arpa"
  end
  local a, b, c, d = address:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  if not a then
    return address
  end
  return table.concat({ d, c, b, a, "in-addr.arpa" }, ".")
end

function _M.reverse_query(self, address)
  return self:query(_M.arpa_str(address), { qtype = _M.TYPE_PTR })
end

return _M
