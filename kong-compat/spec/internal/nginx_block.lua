-- Server blocks of nginx, as specs have them for servers in Lua (`fixtures.http_mock`): read, and
-- turned into the code of a `pre-function`.

local block = {}

-- Where Lua's text ends that begins at `at`: behind the brace that closes it.
local function lua_end(text, at)
  local depth = 1
  while at <= #text do
    local long = text:match("^%-%-%[(=*)%[", at) or text:match("^%[(=*)%[", at)
    local quote = text:match("^[\"']", at)
    if long then
      local _, last = text:find("]" .. long .. "]", at, true)
      at = (last or #text) + 1
    elseif text:find("^%-%-", at) then
      at = (text:find("\n", at, true) or #text) + 1
    elseif quote then
      local i = at + 1
      while i <= #text and text:sub(i, i) ~= quote do
        i = i + (text:sub(i, i) == "\\" and 2 or 1)
      end
      at = i + 1
    else
      local c = text:sub(at, at)
      depth = depth + (c == "{" and 1 or c == "}" and -1 or 0)
      if depth == 0 then
        return at
      end
      at = at + 1
    end
  end
  error("a block of Lua has no end", 0)
end

local function word_at(text, at)
  local quote = text:match("^[\"']", at)
  if not quote then
    -- `${{NAME}}` of Kong's templates has braces of its own.
    local template = text:match("^%$%b{}", at)
    if template then
      return template, at + #template
    end
    local word = text:match("^[^%s;{}]+", at)
    return word, at + #word
  end
  local i = at + 1
  while i <= #text and text:sub(i, i) ~= quote do
    i = i + (text:sub(i, i) == "\\" and 2 or 1)
  end
  return text:sub(at + 1, i - 1), i + 1
end

-- Directives: lists of words, with `lua` or `inner` if they have a block.
local function parse(text, at)
  local found, words = {}, {}
  while at <= #text do
    local c = text:sub(at, at)
    if c:find("%s") then
      at = at + 1
    elseif c == "#" or text:find("^%-%-", at) then
      at = (text:find("\n", at, true) or #text) + 1
    elseif c == ";" then
      found[#found + 1], words, at = words, {}, at + 1
    elseif c == "}" then
      return found, at + 1
    elseif c == "{" then
      if tostring(words[1]):find("_by_lua_block$") then
        local last = lua_end(text, at + 1)
        words.lua = text:sub(at + 1, last - 1)
        at = last + 1
      else
        words.inner, at = parse(text, at + 1)
      end
      found[#found + 1], words = words, {}
    else
      words[#words + 1], at = word_at(text, at)
    end
  end
  return found, at
end

local PHASES = { set_by_lua_block = 1, rewrite_by_lua_block = 2, access_by_lua_block = 3,
  content_by_lua_block = 4, header_filter_by_lua_block = 5 }

-- Where content is made, `ngx.exit(ngx.OK)` ends the request with the status that is set; in the
-- phase that this runs in, the request would go on.
local ENDS = [[
local ngx = setmetatable({ exit = function(code)
  if (tonumber(code) or 0) < 200 then
    code = ngx.status ~= 0 and ngx.status or 200
  end
  return ngx.exit(code)
end }, { __index = ngx, __newindex = ngx })
]]

-- The code of a block `content_by_lua_block`.
function block.content(lua)
  return "do " .. ENDS .. lua .. "\nend"
end

-- The code of a location.
local function code_of(directives)
  local parts = {}
  for _, words in ipairs(directives) do
    local name = words[1]
    if name == "content_by_lua_block" then
      parts[#parts + 1] = block.content(words.lua)
    elseif PHASES[name] and PHASES[name] < 5 then
      parts[#parts + 1] = "do " .. words.lua .. "\nend"
    elseif name == "default_type" then
      table.insert(parts, 1, ("ngx.header['Content-Type'] = %q"):format(words[2]))
    elseif name == "add_header" then
      parts[#parts + 1] = ("ngx.header[%q] = %q"):format(words[2], words[3] or "")
    elseif name == "return" then
      parts[#parts + 1] = ("ngx.status = %d ngx.print(%q) do return ngx.exit(%d) end")
        :format(tonumber(words[2]) or 200, words[3] or "", tonumber(words[2]) or 200)
    end
  end
  parts[#parts + 1] = "return ngx.exit(ngx.status ~= 0 and ngx.status or 200)"
  return table.concat(parts, "\n")
end

-- nginx' order: exact, then the first regular expression that fits, then the longest prefix.
local CHOOSE = [[
local path, run, length = ngx.var.uri, nil, -1
for _, one in ipairs(locations) do
  if one.kind == "=" and path == one.path then
    run, length = one.run, math.huge
  elseif one.kind:find("^~%*?$") and length < 1e9 then
    if ngx.re.find(path, one.path, one.kind == "~*" and "joi" or "jo") then
      run, length = one.run, 1e9
    end
  elseif (one.kind == "" or one.kind == "^~") and path:sub(1, #one.path) == one.path
      and #one.path > length then
    run, length = one.run, #one.path
  end
end
if run then return run() end
return ngx.exit(404)
]]

-- The servers of a text: where they listen, and their code.
function block.servers(text)
  local servers = {}
  for _, words in ipairs((parse(text, 1))) do
    if words[1] == "server" and words.inner then
      local listens, parts, own = {}, { "local locations = {}" }, {}
      for _, directive in ipairs(words.inner) do
        if directive[1] == "listen" then
          local port = directive[2]:match("(%d+)$")
          local ssl = table.concat(directive, " "):find(" ssl") and " ssl" or ""
          listens[#listens + 1] = "127.0.0.1:" .. port .. ssl
        elseif directive[1] == "location" then
          local kind, path = directive[2], directive[3]
          if not path then
            kind, path = directive[2]:match("^([=~^]*%*?)(.*)$")
          end
          parts[#parts + 1] = ("locations[#locations + 1] = { kind = %q, path = %q, run = "
            .. "function()\n%s\nend }"):format(kind, path, code_of(directive.inner))
        elseif PHASES[directive[1]] or directive[1] == "return" then
          own[#own + 1] = directive
        end
      end
      parts[#parts + 1] = #own > 0 and code_of(own) or CHOOSE
      servers[#servers + 1] = { listens = table.concat(listens, ", "),
        code = table.concat(parts, "\n") }
    end
  end
  return servers
end

return block
