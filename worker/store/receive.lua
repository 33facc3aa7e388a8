-- Notes in which order deployments were asked for: that in which workers took their messages from the queue.
-- KEYS: the deployment's order, the counter. ARGV: seconds to remember it.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('SET', KEYS[1], redis.call('INCR', KEYS[2]), 'EX', ARGV[1])
end
