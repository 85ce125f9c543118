-- Look at the waiting jobs, first in line first. ARGV: limit, how many to skip, class keys.
-- Returns their ids, what could not be read and was dropped, and whether more may have become due.
write_though_full()
local limit, skip = tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
local more, dropped = promote(now)
local seen, ids = 0, {}
if limit > 0 then
  for _, _, id in in_line(4) do
    if id then
      seen = seen + 1
      if seen > skip then ids[#ids + 1] = id end
    end
    if #ids >= limit then break end
  end
end
tell(now)
return {ids, dropped, more}
