-- The ids of the jobs whose claims are alive.
return redis.call('ZRANGEBYSCORE', LEASES, string.format('(%.0f', now_ms()), '+inf')
