-- What every script of the board begins with: the keys, the clock, and how one job moves.
--
-- KEYS[1] is the base of every key; it holds the hash tag, so all keys live in one slot of a cluster.
-- ARGV[1] is the channel of the board's news, ARGV[2] and on are the script's own.
-- A job that is on the board has an entry, and stands in exactly one of: its class's line, the delayed, the leases.
--   entries  hash    job id -> its place (16 digits: order of posting) and the entry's JSON
--   ids      zset    job ids, all with score 0, for paging
--   classes  hash    class key -> how many jobs of it are on the board
--   line:K   zset    place and job id, by score: the waiting jobs of class K
--   delayed  zset    job id, by when it may be claimed
--   leases   zset    job id, by when its lease ends
--   owners   hash    job id -> who claims it
--   held:O   set     the jobs that O claims
-- Times are milliseconds by this server's clock.

local BASE = KEYS[1]
local ENTRIES, IDS, CLASSES = BASE .. 'entries', BASE .. 'ids', BASE .. 'classes'
local DELAYED, LEASES, OWNERS = BASE .. 'delayed', BASE .. 'leases', BASE .. 'owners'
local CHANNEL = ARGV[1]
local PROMOTED_AT_ONCE = 100
local LARGEST_SCORE = 9007199254740992

-- A write that can only free memory comes first: after it Redis lets the script go on though memory is full,
-- so that a full board can still be worked off.
local function write_though_full()
  redis.call('HDEL', OWNERS, '')
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function place_of(seq)
  return string.format('%016.0f', seq)
end

local function parse(text)
  local fine, entry = pcall(cjson.decode, text)
  if not fine or type(entry) ~= 'table' or type(entry.class) ~= 'string' or type(entry.score) ~= 'number' then
    return nil
  end
  if not (entry.score > -LARGEST_SCORE and entry.score < LARGEST_SCORE) then return nil end
  return entry
end

-- A job's entry, from its place and text, with its line and its member there; nil if it cannot be read.
local function entry_of(id, text)
  local entry = text and parse(string.sub(text, 17))
  if not entry then return nil end
  entry.line = BASE .. 'line:' .. entry.class
  entry.member = string.sub(text, 1, 16) .. id
  return entry
end

-- A job's entry; nil if there is none that can be read.
local function read(id)
  return entry_of(id, redis.call('HGET', ENTRIES, id))
end

local news = {}

local function enqueue(entry)
  redis.call('ZADD', entry.line, string.format('%.0f', entry.score), entry.member)
  news[entry.class] = true
end

local function forget_owner(id)
  local owner = redis.call('HGET', OWNERS, id)
  if owner then
    redis.call('SREM', BASE .. 'held:' .. owner, id)
    redis.call('HDEL', OWNERS, id)
  end
  redis.call('ZREM', LEASES, id)
end

-- Remove every trace of a job; whether there was one.
local function drop(id)
  local entry = read(id)
  forget_owner(id)
  redis.call('ZREM', DELAYED, id)
  redis.call('ZREM', IDS, id)
  if entry then
    redis.call('ZREM', entry.line, entry.member)
    if redis.call('HINCRBY', CLASSES, entry.class, -1) <= 0 then redis.call('HDEL', CLASSES, entry.class) end
  end
  return redis.call('HDEL', ENTRIES, id) == 1
end

-- Where a job stands: 'claimed', 'delayed', 'waiting', or nil. An entry that stands nowhere is not on the board.
local function standing(id)
  if redis.call('ZSCORE', LEASES, id) then return 'claimed' end
  if redis.call('ZSCORE', DELAYED, id) then return 'delayed' end
  local entry = read(id)
  if entry and redis.call('ZSCORE', entry.line, entry.member) then return 'waiting' end
  return nil
end

local function lease_end(id)
  return tonumber(redis.call('ZSCORE', LEASES, id) or 0)
end

-- Whether this owner's claim on the job is alive.
local function is_claimed_by(id, owner, now)
  return redis.call('HGET', OWNERS, id) == owner and lease_end(id) > now
end

-- Claim a job that stands in its line or is delayed. The owner's own key comes first: if somebody damaged it, this fails
-- there, with nothing done.
local function take(id, entry, owner, till)
  redis.call('SADD', BASE .. 'held:' .. owner, id)
  redis.call('HSET', OWNERS, id, owner)
  redis.call('ZREM', entry.line, entry.member)
  redis.call('ZREM', DELAYED, id)
  redis.call('ZADD', LEASES, till, id)
end

-- Put a claimed or delayed job back, into its line or until `due`; false if its entry was lost or cannot be read.
local function put_back(id, due)
  forget_owner(id)
  redis.call('ZREM', DELAYED, id)
  local entry = read(id)
  if not entry then
    drop(id)
    return false
  end
  if due then
    redis.call('ZADD', DELAYED, due, id)
  else
    enqueue(entry)
  end
  return true
end

-- Put into line what is due: ended leases and delayed jobs. Whether there may be more, and what could not be read.
local function promote(now)
  local more, dropped = 0, {}
  for _, key in ipairs({LEASES, DELAYED}) do
    local due = redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, PROMOTED_AT_ONCE)
    for _, id in ipairs(due) do
      if not put_back(id) then dropped[#dropped + 1] = id end
    end
    if #due == PROMOTED_AT_ONCE then more = 1 end
  end
  return more, dropped
end

-- When the next lease ends or the next delayed job is due; math.huge if there is none.
local function next_due()
  local due = math.huge
  for _, key in ipairs({LEASES, DELAYED}) do
    local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if first[2] then due = math.min(due, tonumber(first[2])) end
  end
  return due
end

-- Tell those who wait: '+K' for work of class K; '~N' when something is due in N ms, earlier than was planned, if
-- something was planned that may have changed.
local function tell(now, planned)
  for class in pairs(news) do redis.call('PUBLISH', CHANNEL, '+' .. class) end
  local due = planned and next_due()
  if due and due < planned then
    redis.call('PUBLISH', CHANNEL, '~' .. string.format('%.0f', math.max(due - now, 0)))
  end
end

-- An iterator over the waiting jobs of the classes ARGV[first], ARGV[first + 1] ..., first in line first.
-- It yields the line, the member, and the job's id and entry, or nil for both if they do not fit together.
-- Nothing may be taken out of the lines while it runs.
local function in_line(first)
  local lines = {}
  local function fill(line, count)
    line.chunk = redis.call('ZRANGE', line.key, line.read, line.read + count - 1, 'WITHSCORES')
    line.read, line.at = line.read + #line.chunk / 2, 1
    line.score = tonumber(line.chunk[2])
    return #line.chunk > 0
  end
  for i = first, #ARGV do
    local line = {key = BASE .. 'line:' .. ARGV[i], read = 0}
    if fill(line, 1) then lines[#lines + 1] = line end
  end
  local function goes_before(line, other)
    if line.score ~= other.score then return line.score < other.score end
    return line.chunk[line.at] < other.chunk[other.at]
  end
  local function step(line, index)
    line.at = line.at + 2
    if line.chunk[line.at] then
      line.score = tonumber(line.chunk[line.at + 1])
    elseif not fill(line, 32) then
      table.remove(lines, index)
    end
  end
  return function()
    local best, index
    for i, line in ipairs(lines) do
      if not best or goes_before(line, best) then best, index = line, i end
    end
    if not best then return nil end
    local key, member = best.key, best.chunk[best.at]
    step(best, index)
    local id = string.sub(member, 17)
    local entry = read(id)
    local fits = entry and entry.line == key and entry.member == member and not redis.call('ZSCORE', LEASES, id)
    if fits then return key, member, id, entry end
    return key, member, nil, nil
  end
end
