-- Lets go of a stage whose holder has ended or has no record, and sets alarms that are missing.
-- KEYS: the stage, the host's stages, the stage's live ones. ARGV: key prefix, host, stage.
-- Returns {the id that had the stage wrongly or '', the ids that have an alarm again …}.
local prefix, mended = ARGV[1], {''}
local stage = redis.call('HMGET', KEYS[1], 'running', 'waiting')
if (stage[1] and not is_under_way(prefix, stage[1])) or (stage[2] and not stage[1]) then
  mended[1] = stage[1] or stage[2]
  hand_over(prefix, KEYS[1], 0)
elseif stage[2] and not is_under_way(prefix, stage[2]) then
  mended[1] = stage[2]
  redis.call('HDEL', KEYS[1], 'waiting')
end
for _, id in ipairs(redis.call('HMGET', KEYS[1], 'running', 'waiting')) do
  local alarms = id and prefix .. 'alarms:' .. place_of(record_of(prefix, id))
  if alarms and not redis.call('ZSCORE', alarms, id) then
    redis.call('ZADD', alarms, redis.call('HGET', record_of(prefix, id), 'due'), id)
    table.insert(mended, id)
  end
end
-- A stage that is elsewhere by now is looked after there. Those that were noted before there were several hosts are any
-- host's until one has a part in it.
local unclaimed = prefix .. 'stages'
local is_elsewhere = false
for _, field in ipairs({'running', 'waiting', 'live'}) do
  local id = redis.call('HGET', KEYS[1], field)
  local host = id and redis.call('HGET', record_of(prefix, id), 'host')
  if host == ARGV[2] then
    if redis.call('SREM', unclaimed, ARGV[3]) == 1 then
      redis.call('SADD', KEYS[2], ARGV[3])
    end
    return mended
  end
  is_elsewhere = is_elsewhere or host
end
local is_gone = redis.call('EXISTS', KEYS[3]) == 0
if is_elsewhere or is_gone then
  redis.call('SREM', KEYS[2], ARGV[3])
end
if is_gone and not is_elsewhere then
  redis.call('SREM', unclaimed, ARGV[3])
end
return mended
