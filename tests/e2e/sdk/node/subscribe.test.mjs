import test from "node:test";
import { deepEqual, equal, ok } from "node:assert/strict";
import { client, readOnlyToken, redis, send, token, until, url } from "./service.mjs";

/// A subscriber with all it was told, once each of its channels is confirmed.
/// Whatever becomes of the test, the stream is left: an open one would keep the process alive.
const listen = async (t, subscriber, channels, kind) => {
  t.after(() => subscriber.unsubscribe());
  const told = { messages: [], confirmed: [], errors: [] };
  subscriber.on(kind === "pmessage" ? "psubscribe" : "subscribe", (count) => told.confirmed.push(count));
  subscriber.on(kind, (message) => told.messages.push(message));
  subscriber.on("error", (error) => told.errors.push(error));
  await until(() => told.confirmed.length === channels, "every channel is confirmed");
  return told;
};

test("messages reach the subscriber in order, as what they are", async (t) => {
  const subscriber = redis.subscribe("chat");
  const told = await listen(t, subscriber, 1, "message");
  const sent = [{ id: 1, text: "hi" }, "plain, with commas", 42, "汉字 👋", ["a"], "OK", ""];
  for (const message of sent) equal(await redis.publish("chat", message), 1);
  await until(() => told.messages.length === sent.length, "all have arrived");
  deepEqual(told.messages, sent.map((message) => ({ channel: "chat", message })));
  deepEqual(told.confirmed, [1]);
  deepEqual(told.errors, []);
});

test("several channels, two subscribers of one, and listeners of a channel alone", async (t) => {
  const first = redis.subscribe(["a", "b"]);
  const second = redis.subscribe(["a"]);
  const onlyB = [];
  first.on("message:b", ({ message }) => onlyB.push(message));
  const told = await Promise.all([listen(t, first, 2, "message"), listen(t, second, 1, "message")]);
  deepEqual(first.getSubscribedChannels(), ["a", "b"]);
  await redis.publish("a", "one");
  await redis.publish("b", "two");
  await until(() => told[0].messages.length === 2 && told[1].messages.length === 1, "all have arrived");
  deepEqual(onlyB, ["two"]);
  await first.unsubscribe(["a"]);
  deepEqual(first.getSubscribedChannels(), ["b"]);
  await redis.publish("a", "three");
  await until(() => told[1].messages.length === 2, "the other one goes on");
  equal(told[0].messages.length, 2);
});

test("a pattern brings the messages of every matching channel", async (t) => {
  const subscriber = redis.psubscribe("user:*");
  const told = await listen(t, subscriber, 1, "pmessage");
  await redis.publish("user:1", { n: 1 });
  await redis.publish("other", { n: 2 });
  await redis.publish("user:2", { n: 3 });
  await until(() => told.messages.length === 2, "both have arrived");
  deepEqual(told.messages, [
    { pattern: "user:*", channel: "user:1", message: { n: 1 } },
    { pattern: "user:*", channel: "user:2", message: { n: 3 } },
  ]);
});

test("a name with a slash, a space and an umlaut is one channel", async (t) => {
  const name = "room/1 für alle";
  const subscriber = redis.subscribe(name);
  const told = await listen(t, subscriber, 1, "message");
  await redis.publish(name, "hi");
  await until(() => told.messages.length === 1, "it has arrived");
  equal(told.messages[0].channel, name);
});

test("without deserialisation a message is the text that was published", async (t) => {
  const raw = client({ automaticDeserialization: false });
  const subscriber = raw.subscribe("c");
  const told = await listen(t, subscriber, 1, "message");
  await redis.publish("c", { a: 1 });
  await until(() => told.messages.length === 1, "it has arrived");
  equal(told.messages[0].message, '{"a":1}');
});

test("the stream is plain server-sent events, never base64", async (t) => {
  const leave = new AbortController();
  t.after(() => leave.abort());
  const answer = await fetch(`${url}/subscribe/chat`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Upstash-Encoding": "base64", "Content-Type": "application/json" },
    body: "[]",
    signal: leave.signal,
  });
  equal(answer.status, 200);
  ok(answer.headers.get("content-type").startsWith("text/event-stream"));
  const reader = answer.body.getReader();
  let text = "";
  const read = async (wanted) => {
    while (!text.includes(wanted)) text += new TextDecoder().decode((await reader.read()).value);
  };
  await read("data: subscribe,chat,1\n\n");
  equal((await (await send("/publish/chat/hello", "")).json()).result, 1);
  await read("data: message,chat,hello\n\n");
});

test("an unsubscribed channel has no listener left in Redis", async (t) => {
  const subscriber = redis.subscribe("short");
  await listen(t, subscriber, 1, "message");
  equal(await redis.publish("short", "x"), 1);
  await subscriber.unsubscribe();
  await until(async () => (await redis.publish("short", "x")) === 0, "nobody listens any more");
});

test("a stranger is told why before any stream begins", async (t) => {
  const stranger = client({ token: "nobody" });
  const subscriber = stranger.subscribe("chat");
  t.after(() => subscriber.unsubscribe());
  let error;
  subscriber.on("error", (told) => (error = told));
  await until(() => error, "the error arrives");
  ok(String(error.message).includes("WRONGPASS"), error.message);
  const reader = client({ token: readOnlyToken });
  await reader.publish("chat", "x").then(
    () => ok(false, "a read-only token published"),
    (refused) => ok(refused.message.includes("NOPERM"), refused.message),
  );
});
