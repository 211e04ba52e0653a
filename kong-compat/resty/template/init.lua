-- HTML templates: `lua-resty-template`.
--
-- `{{x}}` is escaped, `{*x*}` is not, `{% %}` is Lua, `{(file)}` and `{[expression]}` include, and
-- `{-name-}...{-name-}` is a block. A backslash in front takes the meaning away.

local ENTITIES = {
  ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;",
  ["/"] = "&#47;", ["{"] = "&#123;", ["}"] = "&#125;",
}

-- A view becomes a function that is made anew for every call, so that it can have an environment of
-- its own: what is handed to it is in `run`.
local HEAD = "return function(__emit, echo, include, blocks, layout)\n"
local TAIL = "return layout\nend\n"

local function trim(text)
  return text:match("^%s*(.-)%s*$")
end

local Writer = {}
Writer.__index = Writer

function Writer:code(...)
  for i = 1, select("#", ...) do
    self[#self + 1] = (select(i, ...))
  end
end

-- Text as it stands there.
function Writer:text(text)
  if text ~= "" then
    self:code("__emit [=[\n", self.visit(text), "]=]\n")
  end
end

-- Where the line goes on behind a tag that stands for no text.
local function behind(view, at)
  return view:sub(at, at) == "\n" and at + 1 or at
end

-- Tags by their second character: what ends them, and what they become. A function that returns a
-- position says where the text goes on.
local tags = {}

tags["{"] = { "}}", function(out, inside)
  out:code("__emit(template.escape(", out.visit(trim(inside), "{"), "))\n")
end }

tags["*"] = { "*}", function(out, inside)
  out:code("__emit(template.output(", out.visit(trim(inside), "*"), "))\n")
end }

tags["%"] = { "%}", function(out, inside, view, last)
  out:code(out.visit(trim(inside), "%"), "\n")
  return behind(view, last + 1)
end }

tags["("] = { ")}", function(out, inside)
  inside = out.visit(inside, "(")
  local comma = inside:find(",", 2, true)
  local file = trim(inside:sub(1, comma and comma - 1))
  out:code("__emit(include([=[", file, "]=]")
  out:code(comma and "," .. trim(inside:sub(comma + 1)) or "", "))\n")
end }

tags["["] = { "]}", function(out, inside)
  out:code("__emit(include(", out.visit(trim(inside), "["), "))\n")
end }

tags["#"] = { "#}", function(_, _, view, last)
  return behind(view, last + 1)
end }

tags["-"] = { "-}", function(out, inside, view, last)
  local mark = "{-" .. inside .. "-}"
  local from, to = view:find(mark, last + 1, true)
  local name, body = trim(inside), view:sub(last + 1, from - 1)
  if name == "verbatim" or name == "raw" then
    out:code("__emit [=[", out.visit(body), "]=]\n")
  else
    body = body:gsub("\n$", "")
    out:code('blocks["', name, '"]=include[=[', out.visit(body, "-", name), "]=]\n")
  end
  return behind(view, to + 1)
end }

-- Tags that stand for no text take the blanks in front of them along.
local function before(kind, inside, text)
  local block = kind == "-" and trim(inside) ~= "verbatim" and trim(inside) ~= "raw"
  if kind == "%" or block then
    return (text:gsub("[ \t\v%z]+$", ""))
  end
  return text
end

-- Whether a tag is escaped, and how many backslashes go.
local function escaped(view, at)
  if view:sub(at - 1, at - 1) ~= "\\" or at == 1 then
    return false, 0
  end
  return view:sub(at - 2, at - 2) ~= "\\" or at == 2, 1
end

-- The tag at a brace: its kind, its inside and its last character.
local function tag_at(view, at)
  local kind = view:sub(at + 1, at + 1)
  local tag = tags[kind]
  local first, last = view:find(tag and tag[1] or "\0", at + 2, true)
  if not tag or not first then
    return nil
  end
  local inside = view:sub(at + 2, first - 1)
  if kind == "-" and not view:find("{-" .. inside .. "-}", last + 1, true) then
    return nil
  end
  return kind, inside, last
end

local function parse(view, visit)
  local out = setmetatable({ HEAD, visit = visit }, Writer)
  local from, at = 1, view:find("{", 1, true)
  while at do
    local kind, inside, last = tag_at(view, at)
    if kind then
      local is_escaped, backslashes = escaped(view, at)
      local text = view:sub(from, at - 1 - backslashes)
      if is_escaped then
        out:text(text)
        from = at
      else
        out:text(before(kind, inside, text))
        from = tags[kind][2](out, inside, view, last) or last + 1
        at = from - 1
      end
    end
    at = view:find("{", at + 1, true)
  end
  out:text(view:sub(from))
  out:code(TAIL)
  return table.concat(out, "")
end

local function read(path)
  local file, err = io.open(path, "rb")
  if not file then
    return nil, err
  end
  local text
  text, err = file:read("*a")
  file:close()
  return text, err
end

local function with_safety(f)
  return function(...)
    local ok, a, b = pcall(f, ...)
    if not ok then
      return nil, a
    end
    return a, b
  end
end

local new

-- A view that is rendered with its own fields as the context; a layout goes around it.
local function view_of(template, view, layout, safe)
  local function context_of(self, context)
    context = context or self
    if layout then
      context.blocks = context.blocks or {}
      context.view = function(inner) return template.process(view, inner or context) end
      if type(layout) == "table" then
        layout.blocks, layout.view = context.blocks, context.view
      end
    end
    return context
  end
  local function process(self, context)
    context = context_of(self, context)
    if not layout then
      return template.process(view, context)
    elseif type(layout) == "table" then
      return tostring(layout)
    end
    return template.process(layout, context)
  end
  local function render(self, context)
    return template.print(process(self, context))
  end
  if safe then
    local careful = with_safety(process)
    return setmetatable({ render = with_safety(render), process = careful }, {
      __tostring = function(self) return careful(self) or "" end })
  end
  return setmetatable({ render = render, process = process }, { __tostring = process })
end

-- Globals of a view: its own, then the context's, the template's, everybody's.
local scope_meta = { __index = function(t, key)
  local value = t.context[key]
  if value == nil then
    value = t.template[key]
  end
  if value == nil then
    value = _G[key]
  end
  return value
end }

-- Renders once; nothing of it is shared with another rendering of the same view.
local function run(template, maker, context)
  local scope = setmetatable({ template = template, context = context or {} }, scope_meta)
  local parts, blocks = {}, scope.blocks or {}
  local function include(view, inner)
    return template.process(view, inner or scope.context)
  end
  local function emit(text)
    parts[#parts + 1] = text
  end
  local function echo(...)
    for i = 1, select("#", ...) do
      emit(tostring((select(i, ...))))
    end
  end
  local layout = setfenv(maker, scope)()(emit, echo, include, blocks)
  local text = table.concat(parts)
  if not layout then
    return text
  end
  local around = { view = text, blocks = blocks }
  return include(layout, setmetatable(around, { __index = scope.context }))
end

-- Functions that compile and run views.
local function add_processing(template, visit)
  local caching = true
  template.cache = {}
  local makers = setmetatable({}, { __mode = "k" })

  function template.caching(enable)
    if enable ~= nil then
      caching = enable == true
    end
    return caching
  end

  function template.parse(view, plain)
    assert(view, "view was not provided for template.parse(view, plain)")
    if plain ~= true then
      view = template.load(view, plain)
      if view:sub(1, 1) == "\27" then
        return view
      end
    end
    return parse(view, visit)
  end

  function template.compile(view, key, plain)
    assert(view, "view was not provided for template.compile(view, cache_key, plain)")
    local cached = key ~= "no-cache" and template.cache[key or view]
    if cached then
      return cached, true
    end
    local maker = assert(load(template.parse(view, plain)))
    local function chunk(context)
      return run(template, maker, context)
    end
    makers[chunk] = maker
    if caching and key ~= "no-cache" then
      template.cache[key or view] = chunk
    end
    return chunk, false
  end

  function template.process(view, context, key, plain)
    assert(view, "view was not provided for template.process(view, context, cache_key, plain)")
    return template.compile(view, key, plain)(context)
  end

  function template.render(view, context, key, plain)
    assert(view, "view was not provided for template.render(view, context, cache_key, plain)")
    template.print(template.process(view, context, key, plain))
  end

  function template.precompile(view, path, strip, plain)
    local chunk = string.dump(makers[template.compile(view, nil, plain)], strip ~= false)
    if path then
      local file = assert(io.open(path, "wb"))
      file:write(chunk)
      file:close()
    end
    return chunk
  end
end

-- The same functions for texts and for files alone.
local function add_forms(template)
  for suffix, plain in pairs { _string = true, _file = false } do
    template["load" .. suffix] = function(view) return template.load(view, plain) end
    template["parse" .. suffix] = function(view) return template.parse(view, plain) end
    template["compile" .. suffix] = function(view, key)
      return template.compile(view, key, plain)
    end
    template["precompile" .. suffix] = function(view, path, strip)
      return template.precompile(view, path, strip, plain)
    end
    for _, name in ipairs { "process", "render" } do
      template[name .. suffix] = function(view, context, key)
        return template[name](view, context, key, plain)
      end
    end
  end
end

function new(template, safe)
  template = template or {}
  template._VERSION = "2.0"
  template.print = ngx.print
  local visitors = {}

  function template.visit(f)
    visitors[#visitors + 1] = f
  end

  -- A file below `template.root`; a text that names no file is the view itself.
  function template.load(view, plain)
    if plain == true then
      return view
    end
    local root = template.root
    local path = root and root ~= "" and root:gsub("/$", "") .. "/" .. view:gsub("^/", "") or view
    local text, err = read(path)
    return text or plain == false and error(err, 2) or view
  end

  function template.output(value)
    if value == nil or value == ngx.null then
      return ""
    elseif type(value) == "function" then
      return template.output(value())
    end
    return tostring(value)
  end

  function template.escape(value, code)
    if type(value) ~= "string" then
      return template.output(value)
    end
    return (value:gsub(code and "[}{\">/<'&]" or "[\">/<'&]", ENTITIES))
  end

  function template.new(view, layout)
    if type(view) == "boolean" then
      return new(nil, view)
    elseif type(view) == "table" then
      return new(view, safe)
    elseif view == nil then
      return new(nil, safe)
    end
    return view_of(template, view, layout, safe)
  end

  add_processing(template, function(content, tag, name)
    for _, visitor in ipairs(visitors) do
      content = visitor(content, tag, name)
    end
    return content
  end)
  add_forms(template)
  if not safe then
    return template
  end
  return setmetatable({}, {
    __index = function(_, key)
      local value = template[key]
      return type(value) == "function" and with_safety(value) or value
    end,
  })
end

return new()
