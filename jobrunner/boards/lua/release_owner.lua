-- Hand back all that an owner holds. ARGV: owner. Returns the ids.
write_though_full()
local held, released = BASE .. 'held:' .. ARGV[2], {}
local now = now_ms()
for _, id in ipairs(redis.call('SMEMBERS', held)) do
  if redis.call('HGET', OWNERS, id) == ARGV[2] and put_back(id) then released[#released + 1] = id end
end
redis.call('DEL', held)
tell(now)
return released
