-- Notes which containers a host has, of all stages or of one: what isn't told any more is gone.
-- KEYS: the host's containers, where containers are.
-- ARGV: key prefix, host, stage or '' for all; and of each container id, name, stage, what is told of it …
local prefix, host, only = ARGV[1], ARGV[2], ARGV[3]
local here, where, told = KEYS[1], KEYS[2], {}
local function listed(stage)
  return prefix .. 'listed:' .. stage
end
local function forget_place(name)
  if redis.call('HGET', where, name) == host then
    redis.call('HDEL', where, name)
  end
end
for place = 4, #ARGV, 4 do
  local id, name, stage, text = ARGV[place], ARGV[place + 1], ARGV[place + 2], host .. ' ' .. ARGV[place + 3]
  told[id] = true
  local known = redis.call('HGET', here, id)
  if known and known ~= stage .. ' ' .. name then
    forget_place(string.match(known, ' (.*)$'))
  end
  local is_new = redis.call('HGET', listed(stage), id) ~= text
  if is_new then
    redis.call('HSET', listed(stage), id, text)
    redis.call('HSET', here, id, stage .. ' ' .. name)
  end
  -- Another host may have had one of that name, as while a stage moves, and have forgotten the name with it.
  if is_new or not redis.call('HGET', where, name) then
    redis.call('HSET', where, string.sub(id, 1, 12), host, name, host)
  end
end
-- Of one stage, its list alone is looked at, which has other hosts' containers as well: a host may have thousands.
local before = redis.call('HGETALL', only == '' and here or listed(only))
for place = 1, #before, 2 do
  local id = before[place]
  local known = not told[id] and redis.call('HGET', here, id)
  if known then
    local stage, name = string.match(known, '^(%S+) (.*)$')
    redis.call('HDEL', here, id)
    redis.call('HDEL', listed(stage), id)
    forget_place(string.sub(id, 1, 12))
    forget_place(name)
  end
end
