-- Leaves a step to workers of a newer version of this code.
-- KEYS: the record. ARGV: key prefix, id.
if is_under_way(ARGV[1], ARGV[2]) then
  leave(ARGV[1], ARGV[2])
end
