-- Tie the board to a store. ARGV: the store's id. Returns the id of the store that it is tied to.
redis.call('SETNX', BASE .. 'store', ARGV[2])
return redis.call('GET', BASE .. 'store')
