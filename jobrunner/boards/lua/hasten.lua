-- Let delayed jobs be claimed now. ARGV: job ids. Returns how many of them were delayed.
write_though_full()
local now, hastened = now_ms(), 0
for i = 2, #ARGV do
  if redis.call('ZSCORE', DELAYED, ARGV[i]) and put_back(ARGV[i]) then hastened = hastened + 1 end
end
tell(now)
return hastened
