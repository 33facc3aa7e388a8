-- Forgets an image, unless a deployment has used it since it was looked for.
-- KEYS: the names that images were pulled as, when images were used.
-- ARGV: id, when it was looked for, names that it was pulled as …
if tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1]) or 0) > tonumber(ARGV[2]) then
  return
end
redis.call('ZREM', KEYS[2], ARGV[1])
for index = 3, #ARGV do
  -- A tag that has moved is another image's.
  if redis.call('HGET', KEYS[1], ARGV[index]) == ARGV[1] then
    redis.call('HDEL', KEYS[1], ARGV[index])
  end
end
