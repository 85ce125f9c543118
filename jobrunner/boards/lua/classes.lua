-- The classes of the jobs on the board. Returns for each its key and how many of its jobs wait.
local found = {}
for _, class in ipairs(redis.call('HKEYS', CLASSES)) do
  found[#found + 1] = class
  found[#found + 1] = redis.call('ZCARD', BASE .. 'line:' .. class)
end
return found
