-- Who claims the given jobs. ARGV: job ids. Returns, for each living claim, the job's id and its owner.
local now, found = now_ms(), {}
for i = 2, #ARGV do
  local owner = redis.call('HGET', OWNERS, ARGV[i])
  if owner and lease_end(ARGV[i]) > now then
    found[#found + 1] = ARGV[i]
    found[#found + 1] = owner
  end
end
return found
