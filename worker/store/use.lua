-- Notes that an image is used now.
-- KEYS: when images were used. ARGV: id, 1 if it only counts where the image was used before.
if ARGV[2] == '0' or redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  redis.call('ZADD', KEYS[1], now(), ARGV[1])
end
