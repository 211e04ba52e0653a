-- Cookies of the request and of the response: `lua-resty-cookie`.

local _M = { _VERSION = "0.01" }
local meta = { __index = _M }

local NONE = "no cookie found in the current request"

function _M.new()
  return setmetatable({ _cookie = ngx.var.http_cookie }, meta)
end

-- Names and values; a value ends at a blank, too.
local function parse(text)
  local cookies, from = {}, 1
  while true do
    from = text:find("[^ \t;]", from) or #text + 1
    local name, value, last = text:match("^([^=]*)=([^; \t]*)[; \t]?()", from)
    if not name then
      return cookies
    end
    cookies[name] = value
    from = last
  end
end

function _M:get_all()
  if not self._cookie then
    return nil, NONE
  end
  self.cookie_table = self.cookie_table or parse(self._cookie)
  return self.cookie_table
end

function _M:get(name)
  local cookies, err = self:get_all()
  if not cookies then
    return nil, err
  end
  return cookies[name]
end

function _M:get_cookie_size()
  return self._cookie and #self._cookie or 0
end

local SAME_SITE = { Strict = true, Lax = true, None = true }

local ATTRIBUTES = {
  { "expires", "Expires=" }, { "max_age", "Max-Age=" }, { "domain", "Domain=" },
  { "path", "Path=" }, { "secure", "Secure" }, { "httponly", "HttpOnly" },
  { "samesite", "SameSite=" }, { "extension", "" },
}

-- The text of a cookie; nil and what is missing.
function _M.get_cookie_string(cookie)
  if not cookie.key or not cookie.value then
    return nil, 'missing cookie field "key" or "value"'
  end
  cookie.max_age = cookie["max-age"] or cookie.max_age
  if cookie.samesite and not SAME_SITE[cookie.samesite] then
    ngx.log(ngx.WARN, "SameSite value must be 'Strict', 'Lax' or 'None'")
    cookie.samesite = nil
  end
  local parts = { cookie.key .. "=" .. cookie.value }
  for _, attribute in ipairs(ATTRIBUTES) do
    local value = cookie[attribute[1]]
    if value then
      local is_flag = attribute[1] == "secure" or attribute[1] == "httponly"
      parts[#parts + 1] = attribute[2] .. (is_flag and "" or value)
    end
  end
  return table.concat(parts, "; ")
end

-- Sends a cookie beside those that are sent already; none twice.
function _M:set(cookie)
  local text, err = self.get_cookie_string(cookie)
  if not text then
    return nil, err
  end
  local sent = ngx.header["Set-Cookie"]
  local all = type(sent) == "table" and { unpack(sent) } or { sent }
  for _, one in ipairs(all) do
    if one == text then
      return true
    end
  end
  all[#all + 1] = text
  ngx.header["Set-Cookie"] = #all == 1 and text or all
  return true
end

return _M
