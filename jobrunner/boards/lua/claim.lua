-- Claim waiting jobs, first in line first. ARGV: owner, lease in ms, limit, class keys.
-- Returns the ids, what could not be read and was dropped, and whether more may have become due.
write_though_full()
local owner, lease, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local now = now_ms()
local more, dropped = promote(now)
local planned = next_due()
local taken, entries, strays = {}, {}, {}
for line, member, id, entry in in_line(5) do
  if id then
    taken[#taken + 1], entries[#entries + 1] = id, entry
  else
    strays[#strays + 1] = {line, member}
  end
  if #taken >= limit then break end
end
for i, id in ipairs(taken) do take(id, entries[i], owner, now + lease) end
for _, stray in ipairs(strays) do
  redis.call('ZREM', stray[1], stray[2])
  local id = string.sub(stray[2], 17)
  if not standing(id) then drop(id) end
  dropped[#dropped + 1] = stray[2]
end
tell(now, planned)
return {taken, dropped, more}
