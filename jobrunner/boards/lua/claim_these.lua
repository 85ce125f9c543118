-- Claim given jobs, those that wait or are due; or will be, if 1 is given. ARGV: owner, lease in ms, 0 or 1, job ids.
-- Returns the ids that were claimed.
write_though_full()
local owner, lease, early = ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1'
local now, planned, taken = now_ms(), next_due(), {}
for i = 5, #ARGV do
  local id = ARGV[i]
  local entry, where = read(id), standing(id)
  local due = tonumber(redis.call('ZSCORE', DELAYED, id) or 0)
  local free = where == 'waiting' or (where == 'delayed' and (early or due <= now))
    or (where == 'claimed' and lease_end(id) <= now)
  if entry and free then
    forget_owner(id)
    take(id, entry, owner, now + lease)
    taken[#taken + 1] = id
  end
end
tell(now, planned)
return taken
