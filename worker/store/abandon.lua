-- Has another host end what a host that is away was at, or was to do.
-- KEYS: the record, what the host that is away has to start again once it is back.
-- ARGV: key prefix, id, fence, the host that is away, the one that takes over, seconds without a word after which a host
--       is away, the step that ends it, what was found, its error or '', seconds until a sent step counts as lost, 1 if
--       the deployment had stopped containers there for its own.
-- Returns 0 if it has gone on, or the host is back.
local prefix, id, host = ARGV[1], ARGV[2], ARGV[4]
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[3] or place_of(KEYS[1]) ~= host or is_there(prefix, host, ARGV[6]) then
  return 0
end
redis.call('HSET', KEYS[1], 'found', ARGV[8], 'error', ARGV[9])
if ARGV[11] == '1' then
  redis.call('SADD', KEYS[2], id)
end
move_to(prefix, id, ARGV[5])
make_due(prefix, id, ARGV[7], ARGV[10])
return 1
