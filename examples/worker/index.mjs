// A handler as edge platforms run it: no sockets, no state of its own, only `fetch`.
//
// Counts the visits of a page and lets each caller in five times in ten seconds. `env` holds UPSTASH_REDIS_REST_URL and
// UPSTASH_REDIS_REST_TOKEN. When the service or its Redis is away, the page is shown all the same, without a number.
import { Ratelimit } from "@upstash/ratelimit";
import { Redis } from "@upstash/redis/cloudflare";

export default {
  async fetch(request, env) {
    const redis = new Redis({ url: env.UPSTASH_REDIS_REST_URL, token: env.UPSTASH_REDIS_REST_TOKEN });
    const limits = new Ratelimit({ redis, limiter: Ratelimit.slidingWindow(5, "10 s"), prefix: "worker" });
    const caller = request.headers.get("cf-connecting-ip") ?? "unknown";
    try {
      const { success, reset } = await limits.limit(caller);
      if (!success) {
        const seconds = Math.max(1, Math.ceil((reset - Date.now()) / 1000));
        return new Response("Too many visits", { status: 429, headers: { "Retry-After": String(seconds) } });
      }
      const visits = await redis.incr(`visits:${new URL(request.url).pathname}`);
      return Response.json({ visits });
    } catch {
      return Response.json({ visits: null });
    }
  },
};
