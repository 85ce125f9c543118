-- Look at jobs. ARGV: job ids. Returns for each where it stands ('trashed', 'consumed' or '' if it is not on the board), its
-- text, its owner ('' if there is none), and for how many ms the owner's lease still lasts.
local now, rows = now_ms(), {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local where, owner, left = standing(id) or '', '', lease_end(id) - now
  if left > 0 then owner = redis.call('HGET', OWNERS, id) or '' end
  if where == '' and redis.call('HEXISTS', BASE .. 'trash', id) == 1 then where = 'trashed' end
  if where == '' and redis.call('EXISTS', BASE .. 'consumed:' .. id) == 1 then where = 'consumed' end
  rows[#rows + 1] = {where, redis.call('HGET', ENTRIES, id) or '', owner, left}
end
return rows
