-- End a claim together with its job. ARGV: owner, job id, and for how many ms it is known to have been consumed; or
-- 'trash' if it is kept apart instead. Returns whether the claim was the owner's.
write_though_full()
local owner, id, how = ARGV[2], ARGV[3], ARGV[4]
if not is_claimed_by(id, owner, now_ms()) then return 0 end
if how == 'trash' then
  redis.call('HSET', BASE .. 'trash', id, redis.call('HGET', ENTRIES, id) or '')
else
  redis.call('SET', BASE .. 'consumed:' .. id, 1, 'PX', how)
end
drop(id)
return 1
