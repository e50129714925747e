// Publish and subscribe: says hello to itself and ends when it has heard it.
//
// Needs UPSTASH_REDIS_REST_URL and UPSTASH_REDIS_REST_TOKEN. Prints one line.
import { Redis } from "@upstash/redis";

const redis = Redis.fromEnv();
const room = redis.subscribe("chat:lobby");

room.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
// What is published before this event is heard by others only.
room.on("subscribe", () => redis.publish("chat:lobby", { from: "Ada", text: "hello" }));
room.on("message", async ({ channel, message }) => {
  console.log(`${channel} ${message.from}: ${message.text}`);
  await room.unsubscribe();
});
