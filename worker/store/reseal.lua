-- Puts a value in the place of what it was made of, unless somebody has changed that meanwhile.
-- KEYS: a hash. ARGV: the field, what it was, what it is to be.
-- Returns 0 if it is something else by now, or gone.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
