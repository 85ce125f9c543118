-- Give claims to another owner. ARGV: holder, owner, lease in ms, job ids. Returns the ids that were the holder's.
write_though_full()
local holder, owner, lease = ARGV[2], ARGV[3], tonumber(ARGV[4])
local now, planned, passed = now_ms(), next_due(), {}
for i = 5, #ARGV do
  local id = ARGV[i]
  local entry = read(id)
  if entry and is_claimed_by(id, holder, now) then
    forget_owner(id)
    take(id, entry, owner, now + lease)
    passed[#passed + 1] = id
  end
end
tell(now, planned)
return passed
