import test from "node:test";
import { deepEqual, equal, ok } from "node:assert/strict";
import { client, redis, send, token, url } from "./service.mjs";

const raw = client({ automaticDeserialization: false });
const plain = client({ responseEncoding: false });

const words = {
  german: "Größe, Straße, Ähre",
  chinese: "汉字",
  emoji: "👩‍👩‍👧‍👦🏳️‍🌈",
  arabic: "مرحبا",
  combining: "e\u0301",
  escapes: "\"\\\/\b\f\n\r\t\u0000\u001f\u007f\u2028\u2029",
  json: '{"a": [1, 2',
};
for (const [name, text] of Object.entries(words)) {
  test(`text comes back exactly, in base64 and plain, as key, field and member: ${name}`, async () => {
    for (const one of [redis, raw, plain]) {
      await one.set(text, text);
      equal(await one.get(text), text);
      await one.hset("h", { [text]: text });
      deepEqual(await one.hgetall("h"), one === raw ? [text, text] : { [text]: text });
      await one.sadd("s", text);
      deepEqual(await one.smembers("s"), [text]);
      await one.flushdb();
    }
  });
}

test("a lone surrogate is no reason to refuse", async () => {
  equal(await redis.set("k", "a\ud83db"), "OK");
  equal(await redis.get("k"), "a\ufffdb");
});

test("every byte is kept and comes back as base64", async () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, n) => n);
  const stored = await fetch(`${url}/set/bytes`, { method: "POST", headers: { Authorization: `Bearer ${token}` }, body: bytes });
  equal(stored.status, 200);
  equal(await redis.strlen("bytes"), 256);
  const answer = await send("/", ["GET", "bytes"], { "Upstash-Encoding": "base64" });
  deepEqual(Buffer.from((await answer.json()).result, "base64"), Buffer.from(bytes));
});

test("objects come back as objects, unless deserialisation is off", async () => {
  const value = { id: 7, list: [1, "2", null], deep: { x: true } };
  await redis.set("k", value);
  deepEqual(await redis.get("k"), value);
  equal(await raw.get("k"), JSON.stringify(value));
  await redis.hset("h", { f: value });
  deepEqual(await raw.hget("h", "f"), JSON.stringify(value));
  equal(await redis.set("b", true), "OK");
  equal(await redis.get("b"), true);
  equal(await raw.get("b"), "true");
});

test("large whole numbers lose no digit", async () => {
  for (const text of ["9007199254740993", "9223372036854775807", "-9223372036854775808", "123456789012345678901234567890"]) {
    await redis.set("n", text);
    equal(await redis.get("n"), text);
    equal(await raw.get("n"), text);
  }
  await redis.set("n", "9007199254740992");
  const answer = await send("/", ["INCR", "n"]);
  equal(await answer.text(), '{"result":9007199254740993}');
  await send("/", '["SET","n",9223372036854775806]');
  equal(await (await send("/", ["INCR", "n"])).text(), '{"result":9223372036854775807}');
});

test("a number is stored as it was written", async () => {
  for (const text of ["1e+21", "1.0", "-0", "1E5", "0.1", "12345678901234567890.123"]) {
    await send("/", `["SET","n",${text}]`);
    equal(await raw.get("n"), text);
  }
  await redis.set("n", 1e21);
  equal(await raw.get("n"), "1e+21");
});

test("a megabyte comes back whole", async () => {
  const text = "ü0123456789".repeat(100_000);
  equal(await redis.set("big", text), "OK");
  equal(await redis.get("big"), text);
});
