-- Claim given jobs, those that wait or are due. ARGV: owner, lease in ms, job ids. Returns the ids that were claimed.
write_though_full()
local owner, lease = ARGV[2], tonumber(ARGV[3])
local now, planned, taken = now_ms(), next_due(), {}
for i = 4, #ARGV do
  local id = ARGV[i]
  local entry, where = read(id), standing(id)
  local due = tonumber(redis.call('ZSCORE', DELAYED, id) or 0)
  local free = where == 'waiting' or (where == 'delayed' and due <= now)
    or (where == 'claimed' and lease_end(id) <= now)
  if entry and free then
    forget_owner(id)
    take(id, entry, owner, now + lease)
    taken[#taken + 1] = id
  end
end
tell(now, planned)
return taken
