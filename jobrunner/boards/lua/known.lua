-- Which of the given jobs are on the board. ARGV: job ids. Returns their ids.
local known = {}
for i = 2, #ARGV do
  if standing(ARGV[i]) then known[#known + 1] = ARGV[i] end
end
return known
