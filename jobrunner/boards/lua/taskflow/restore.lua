-- Put a trashed job into its old place in line. ARGV: job id. Returns whether it was there.
local id, trash = ARGV[2], BASE .. 'trash'
local text = redis.call('HGET', trash, id)
if not text or not parse(string.sub(text, 17)) or standing(id) then return 0 end
redis.call('HSET', ENTRIES, id, text)
redis.call('ZADD', IDS, 0, id)
local entry = read(id)
redis.call('HINCRBY', CLASSES, entry.class, 1)
enqueue(entry)
redis.call('HDEL', trash, id)
tell(now_ms())
return 1
