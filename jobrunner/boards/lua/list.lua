-- A page of what is on the board, by job id. ARGV: the id after which it begins, or '', and how many jobs.
-- Returns for each job its id, its entry ('' if there is none), its owner ('' if there is none), its lease's end.
local now, rows = now_ms(), {}
local start = ARGV[2] == '' and '-' or '(' .. ARGV[2]
for _, id in ipairs(redis.call('ZRANGEBYLEX', IDS, start, '+', 'LIMIT', 0, tonumber(ARGV[3]))) do
  local till = lease_end(id)
  local owner = till > now and redis.call('HGET', OWNERS, id) or ''
  rows[#rows + 1] = {id, string.sub(redis.call('HGET', ENTRIES, id) or '', 17), owner, till}
end
return rows
