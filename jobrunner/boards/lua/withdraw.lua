-- Take jobs off the board whoever claims them. ARGV: job ids. Returns how many were there.
local withdrawn = 0
for i = 2, #ARGV do
  local there = standing(ARGV[i])
  drop(ARGV[i])
  if there then withdrawn = withdrawn + 1 end
end
return withdrawn
