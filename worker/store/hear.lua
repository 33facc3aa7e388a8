-- Has a deployment that waits for its container look at it now, as something has happened to that.
-- KEYS: the record. ARGV: key prefix, id, the step that waits, seconds until a sent step counts as lost.
-- Returns the host to send the step to, or '' where nobody is to send it.
return look_again(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
