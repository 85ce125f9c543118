-- Push leases back. ARGV: lease in ms, then for each claim the job's id and its owner. Returns the ids of lost claims.
write_though_full()
local lease = tonumber(ARGV[2])
local now, planned, lost = now_ms(), next_due(), {}
for i = 3, #ARGV, 2 do
  if is_claimed_by(ARGV[i], ARGV[i + 1], now) then
    redis.call('ZADD', LEASES, now + lease, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
tell(now, planned)
return lost
