-- Claim given jobs whose turn it is, though they may be delayed; those that are not for the owner are hastened.
-- ARGV: owner, lease in ms, limit, number of jobs, their ids, class keys. Returns the ids that were claimed.
write_though_full()
local owner, lease, limit, last = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), 5 + tonumber(ARGV[5])
local now, planned, taken, fits = now_ms(), next_due(), {}, {}
for i = last + 1, #ARGV do fits[ARGV[i]] = true end
for i = 6, last do
  local id = ARGV[i]
  local entry, where = read(id), standing(id)
  local free = where == 'waiting' or where == 'delayed' or (where == 'claimed' and lease_end(id) <= now)
  if entry and free and fits[entry.class] and #taken < limit then
    forget_owner(id)
    take(id, entry, owner, now + lease)
    taken[#taken + 1] = id
  elseif where == 'delayed' then
    put_back(id)
  end
end
tell(now, planned)
return taken
