"""A guest book: who was here, how many visits, and one job done by one process only.

Needs UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN. Prints one line.
"""

from upstash_redis import Redis

redis = Redis.from_env()

# A mapping is stored as a hash.
redis.hset("guestbook:owner", values={"name": "Ada", "age": 36})
owner = redis.hgetall("guestbook:owner")

# A pipeline: one request, one round trip, answers in order.
pipeline = redis.pipeline()
pipeline.incr("guestbook:visits")
pipeline.lpush("guestbook:guests", "Grace")
pipeline.ltrim("guestbook:guests", 0, 9)
visits, *_ = pipeline.exec()

# A transaction: nobody else's command comes in between.
transaction = redis.multi()
transaction.expire("guestbook:guests", 3600)
transaction.lrange("guestbook:guests", 0, -1)
_, guests = transaction.exec()

# NX answers True to exactly one of all who ask.
mine = redis.set("guestbook:tidying", "me", nx=True, px=1000)

print(f"{owner['name']}: visit {visits}, last guest {guests[0]}, {'I tidy up' if mine else 'somebody tidies up'}")
