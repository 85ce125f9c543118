-- Take finished jobs off the board. ARGV: owner, job ids. Returns how many were the owner's.
local now, consumed = now_ms(), 0
for i = 3, #ARGV do
  if is_claimed_by(ARGV[i], ARGV[2], now) then
    drop(ARGV[i])
    consumed = consumed + 1
  end
end
return consumed
