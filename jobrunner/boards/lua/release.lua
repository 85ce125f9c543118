-- Hand claimed jobs back. ARGV: owner, delay in ms, job ids. Returns how many were the owner's.
write_though_full()
local owner, delay = ARGV[2], tonumber(ARGV[3])
local now, planned, released = now_ms(), next_due(), 0
for i = 4, #ARGV do
  if is_claimed_by(ARGV[i], owner, now) then
    put_back(ARGV[i], delay > 0 and now + delay or nil)
    released = released + 1
  end
end
tell(now, planned)
return released
