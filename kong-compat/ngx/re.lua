-- The module `ngx.re`: texts cut at the matches of a pattern.

local find, sub = ngx.re.match, string.sub

local _M = { version = "0.1" }

function _M.opt() end

-- Pieces between matches; groups of the pattern come between them. Empty pieces at the end go.
function _M.split(subject, regex, options, ctx, max, result)
  subject = tostring(subject)
  local pieces = result or {}
  local count = 0
  local ctx_at = ctx and ctx.pos or 1
  local from, at = ctx_at, ctx_at
  max = max or 0

  local function add(piece)
    count = count + 1
    pieces[count] = piece
  end

  local parts = 1
  while at <= #subject and (max <= 0 or parts < max) do
    local where = { pos = at }
    local first, last, err = ngx.re.find(subject, regex, options, where)
    if err then
      return nil, err
    end
    if not first then
      break
    end
    if last < first then
      -- An empty match cuts between two letters.
      if first > #subject then
        break
      end
      add(sub(subject, from, first))
      from, at = first + 1, first + 1
    else
      add(sub(subject, from, first - 1))
      local captures = find(subject, regex, options, { pos = at })
      for i = 1, #captures do
        if captures[i] then
          add(captures[i])
        end
      end
      from, at = last + 1, last + 1
    end
    parts = parts + 1
  end
  if from <= #subject then
    add(sub(subject, from))
  end
  if max <= 0 then
    while count > 0 and pieces[count] == "" do
      pieces[count] = nil
      count = count - 1
    end
  end
  pieces[count + 1] = nil
  return pieces
end

return _M
