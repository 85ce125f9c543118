-- Put jobs on the board. ARGV: for each job its id and its entry. Returns how many were not there before.
local now, planned, added = now_ms(), nil, 0
for i = 2, #ARGV, 2 do
  local id, text = ARGV[i], ARGV[i + 1]
  local stands = standing(id)
  if not stands and redis.call('HEXISTS', ENTRIES, id) == 1 then drop(id) end
  local entry = stands and read(id)
  if not entry then -- a claimed or delayed job whose entry was lost gets it back
    local placed = place_of(redis.call('INCR', BASE .. 'seq')) .. text
    redis.call('HSET', ENTRIES, id, placed)
    redis.call('ZADD', IDS, 0, id)
    entry = entry_of(id, placed)
    redis.call('HINCRBY', CLASSES, entry.class, 1)
  end
  if not stands then
    if entry.available_ms > now then
      planned = planned or next_due()
      redis.call('ZADD', DELAYED, entry.available_ms, id)
    else
      enqueue(entry)
    end
    added = added + 1
  end
end
tell(now, planned)
return added
