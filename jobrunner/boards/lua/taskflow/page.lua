-- A page of the waiting jobs of several classes, class after class, and in the order of posting in each; for classes
-- whose jobs all have the score 0. ARGV: how many jobs, the number of the class in which the page begins, the place and id
-- behind which it begins there or '', class keys.
-- Returns for each the number of its class, its place and id, its text; and whether more may have become due.
write_though_full()
local limit, first, start = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local now = now_ms()
local rows = {}
local more = promote(now)
for i = 5 + first, #ARGV do
  local from = start == '' and '-' or '(' .. start
  local line = BASE .. 'line:' .. ARGV[i]
  for _, member in ipairs(redis.call('ZRANGEBYLEX', line, from, '+', 'LIMIT', 0, limit - #rows)) do
    rows[#rows + 1] = {i - 5, member, redis.call('HGET', ENTRIES, string.sub(member, 17)) or ''}
  end
  if #rows >= limit then break end
  start = ''
end
tell(now)
return {rows, more}
