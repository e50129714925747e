// A guest book: who was here, how many visits, and one job done by one process only.
//
// Needs UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN. Prints one line.
import { Redis } from "@upstash/redis";

const redis = Redis.fromEnv();

// Objects are stored as JSON and come back as objects.
await redis.set("guestbook:owner", { name: "Ada" }, { ex: 3600 });
const owner = await redis.get("guestbook:owner");

// A pipeline: one request, one round trip, answers in order.
const [visits] = await redis
  .pipeline()
  .incr("guestbook:visits")
  .lpush("guestbook:guests", "Grace")
  .ltrim("guestbook:guests", 0, 9)
  .exec();

// A transaction: nobody else's command comes in between.
const [, guests] = await redis.multi().expire("guestbook:guests", 3600).lrange("guestbook:guests", 0, -1).exec();

// NX answers OK to exactly one of all who ask.
const mine = await redis.set("guestbook:tidying", "me", { nx: true, px: 1000 });

console.log(`${owner.name}: visit ${visits}, last guest ${guests[0]}, ${mine === "OK" ? "I tidy up" : "somebody tidies up"}`);
