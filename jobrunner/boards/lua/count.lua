-- How many jobs wait, are delayed, and are claimed; what is due counts as waiting.
local now, waiting = now_ms(), 0
for _, class in ipairs(redis.call('HKEYS', CLASSES)) do
  waiting = waiting + redis.call('ZCARD', BASE .. 'line:' .. class)
end
local due = redis.call('ZCOUNT', DELAYED, '-inf', now) + redis.call('ZCOUNT', LEASES, '-inf', now)
local later = string.format('(%.0f', now)
return {waiting + due, redis.call('ZCOUNT', DELAYED, later, '+inf'), redis.call('ZCOUNT', LEASES, later, '+inf')}
