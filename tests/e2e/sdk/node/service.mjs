// What every suite starts from: clients as users make them, and an empty database before each test.
//
// `redis` is the default client: auto-pipelining, base64 answers, read-your-writes. The service is started by
// `tests/e2e/sdk.sh`, which also runs the files one after the other: they share one database.
import { beforeEach } from "node:test";
import { Redis } from "@upstash/redis";

export const url = process.env.UPSTASH_REDIS_REST_URL;
export const token = process.env.UPSTASH_REDIS_REST_TOKEN;
export const readOnlyToken = process.env.READ_ONLY_TOKEN;

/// A client with options of its own. Latency logging would only be noise.
export const client = (options = {}) => new Redis({ url, token, latencyLogging: false, ...options });

export const redis = client();

/// The answer exactly as it came: the SDK hides status and headers.
export const send = (path, body, headers = {}) =>
  fetch(`${url}${path}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });

/// Waits for a condition, never for a length of time.
export const until = async (condition, what, seconds = 10) => {
  const end = Date.now() + seconds * 1000;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`waited ${seconds} s in vain until ${what}`);
    await new Promise((go) => setTimeout(go, 20));
  }
};

beforeEach(() => redis.flushdb());
