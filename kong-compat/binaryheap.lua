-- Binary heaps: the module `binaryheap`. Plain ones hold values, unique ones payloads with values.

local _M = {}

local methods = {}

local function before(a, b) return a < b end
local function behind(a, b) return a > b end

-- A heap of functions that swap two positions and forget the last.
function _M.binaryHeap(swap, erase, lt)
  local heap = { values = {}, swap = swap, erase = erase, lt = lt }

  function heap:bubbleUp(at)
    while at > 1 do
      local parent = math.floor(at / 2)
      if not lt(self.values[at], self.values[parent]) then
        return
      end
      swap(self, parent, at)
      at = parent
    end
  end

  function heap:sinkDown(at)
    local values = self.values
    while true do
      local least = at
      for child = 2 * at, 2 * at + 1 do
        if values[child] ~= nil and lt(values[child], values[least]) then
          least = child
        end
      end
      if least == at then
        return
      end
      swap(self, at, least)
      at = least
    end
  end

  return heap
end

function methods:size()
  return #self.values
end

function methods:peek()
  return self.values[1]
end

function methods:insert(value)
  assert(value ~= nil, "cannot add 'nil' as value")
  local at = #self.values + 1
  self.values[at] = value
  self:bubbleUp(at)
end

function methods:update(at, value)
  assert(value ~= nil, "cannot add 'nil' as value")
  assert(at >= 1 and at <= #self.values, "illegal position")
  self.values[at] = value
  self:bubbleUp(at)
  self:sinkDown(at)
end

function methods:remove(at)
  local last = #self.values
  if at < 1 or at > last then
    return nil
  end
  local value = self.values[at]
  if at < last then
    self:swap(at, last)
  end
  self:erase(last)
  if at < last then
    self:bubbleUp(at)
    self:sinkDown(at)
  end
  return value
end

function methods:pop()
  if self.values[1] ~= nil then
    return methods.remove(self, 1)
  end
end

local function swap_values(heap, a, b)
  heap.values[a], heap.values[b] = heap.values[b], heap.values[a]
end

local function erase_value(heap, at)
  heap.values[at] = nil
end

local function plain(lt)
  local heap = _M.binaryHeap(swap_values, erase_value, lt)
  for name, method in pairs(methods) do
    heap[name] = method
  end
  return heap
end

function _M.minHeap(lt)
  return plain(lt or before)
end

function _M.maxHeap(gt)
  return plain(gt or behind)
end

-- Heaps in which each value has a payload of its own, by which it is found.
local unique = { size = methods.size }

function unique:peek()
  return self.payloads[1], self.values[1]
end

function unique:peekValue()
  return self.values[1]
end

function unique:valueByPayload(payload)
  return self.values[self.reverse[payload]]
end

function unique:insert(value, payload)
  assert(self.reverse[payload] == nil, "duplicate payload")
  local at = #self.values + 1
  self.reverse[payload] = at
  self.payloads[at] = payload
  return methods.insert(self, value)
end

function unique:update(payload, value)
  return methods.update(self, self.reverse[payload], value)
end

function unique:remove(payload)
  local at = self.reverse[payload]
  if at then
    return methods.remove(self, at), payload
  end
end

function unique:pop()
  local payload = self.payloads[1]
  if self.values[1] ~= nil then
    return payload, methods.remove(self, 1)
  end
end

local function swap_payloads(heap, a, b)
  local payloads = heap.payloads
  payloads[a], payloads[b] = payloads[b], payloads[a]
  heap.reverse[payloads[a]], heap.reverse[payloads[b]] = a, b
  swap_values(heap, a, b)
end

local function erase_payload(heap, at)
  heap.reverse[heap.payloads[at]] = nil
  heap.payloads[at] = nil
  erase_value(heap, at)
end

local function with_payloads(lt)
  local heap = _M.binaryHeap(swap_payloads, erase_payload, lt)
  heap.payloads, heap.reverse = {}, {}
  for name, method in pairs(unique) do
    heap[name] = method
  end
  return heap
end

function _M.minUnique(lt)
  return with_payloads(lt or before)
end

function _M.maxUnique(gt)
  return with_payloads(gt or behind)
end

return _M
