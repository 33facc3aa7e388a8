-- Has a stage be live no more where it is live on a host that is gone for good.
-- KEYS: the stage. ARGV: key prefix, host.
local live = redis.call('HGET', KEYS[1], 'live')
if live and redis.call('HGET', record_of(ARGV[1], live), 'host') == ARGV[2] then
  redis.call('HDEL', KEYS[1], 'live')
end
