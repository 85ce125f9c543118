-- Put into line what is due. Returns in how many ms the next job is due (-1: none is; 0: more may be due now).
write_though_full()
local now = now_ms()
local more = promote(now)
tell(now)
local due = next_due()
if more == 1 then return 0 end
if due == math.huge then return -1 end
return math.max(due - now, 1)
