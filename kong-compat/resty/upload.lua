-- Uploads piece by piece: `lua-resty-upload`. Each call of `read` gives a header, a piece of a
-- body, the end of a part, or the end.

local _M = { _VERSION = "0.11" }
local meta = { __index = _M }

local function boundary()
  local header = ngx.var.content_type
  header = type(header) == "table" and header[1] or header
  if header then
    local quoted = header:match(';%s*boundary="([^"]+)"')
    return quoted or header:match(";%s*boundary=([^\",;]+)")
  end
end

function _M.new(_, size, line_size)
  local mark = boundary()
  if not mark then
    return nil, "no boundary defined in Content-Type"
  end
  local socket, err = ngx.req.socket()
  if not socket then
    return nil, err
  end
  local to_boundary, line
  to_boundary, err = socket:receiveuntil("--" .. mark)
  if to_boundary then
    line, err = socket:receiveuntil("\r\n")
  end
  if not line then
    return nil, err
  end
  return setmetatable({
    sock = socket, size = size or 4096, line_size = line_size or 512, boundary = mark,
    read2boundary = to_boundary, read_line = line, step = "preamble",
  }, meta)
end

function _M:set_timeout(timeout)
  return self.sock:settimeout(timeout)
end

-- One line; nil and an error if it is longer than it may be.
local function line_of(self)
  local line, err = self.read_line(self.line_size)
  if not line then
    return nil, err
  end
  local more
  more, err = self.read_line(1)
  if more then
    return nil, "line too long: " .. line .. more .. "..."
  elseif err then
    return nil, err
  end
  return line
end

local steps = {}

-- What stands in front of the first part counts for nothing.
function steps:preamble()
  while self.read2boundary(self.size) do end
  local ok, err = line_of(self)
  if not ok then
    return nil, nil, err
  end
  local to_boundary
  to_boundary, err = self.sock:receiveuntil("\r\n--" .. self.boundary)
  if not to_boundary then
    return nil, nil, err
  end
  self.read2boundary, self.step = to_boundary, "header"
  return steps.header(self)
end

function steps:header()
  local line, err = line_of(self)
  if not line then
    return nil, nil, err
  elseif line == "" then
    self.step = "body"
    return steps.body(self)
  end
  local name, value = line:match("([^: \t]+)%s*:%s*(.+)")
  return "header", name and { name, value, line } or line
end

local function discard(self)
  while true do
    local piece, err = self.sock:receive(self.size)
    if err and err ~= "closed" then
      return nil, err
    elseif not piece then
      return true
    end
  end
end

function steps:body()
  local piece, err = self.read2boundary(self.size)
  if err then
    return nil, nil, err
  elseif piece then
    return "body", piece
  end
  local ok = true
  local tail = self.sock:receive(2)
  self.step = tail == "--" and "eof" or "header"
  if tail == "--" then
    ok, err = discard(self)
  elseif tail ~= "\r\n" then
    ok, err = line_of(self)
  end
  if not ok then
    return nil, nil, err
  end
  return "part_end"
end

function steps.eof()
  return "eof", nil
end

function _M:read()
  return steps[self.step](self)
end

return _M
