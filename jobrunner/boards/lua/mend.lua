-- Make the board whole after somebody wrote into its keys: every entry that can be read stands somewhere, once, no claim is
-- without an owner, and the rest is dropped. Costs a pass over the whole board. Returns the ids that were dropped.
local counts, dropped = {}, {}
redis.call('DEL', IDS)
for _, id in ipairs(redis.call('HKEYS', ENTRIES)) do
  local entry = read(id)
  if entry then
    local stands = standing(id)
    if stands == 'claimed' and not redis.call('HGET', OWNERS, id) then
      put_back(id)
    elseif not stands then
      enqueue(entry)
    end
    redis.call('ZADD', IDS, 0, id)
    counts[entry.class] = (counts[entry.class] or 0) + 1
  else
    forget_owner(id)
    redis.call('ZREM', DELAYED, id)
    redis.call('HDEL', ENTRIES, id)
    dropped[#dropped + 1] = id
  end
end
redis.call('DEL', CLASSES)
for class, count in pairs(counts) do redis.call('HSET', CLASSES, class, count) end
tell(now_ms())
return dropped
