"""Strings, bits, keys, and what values survive: text, bytes, large numbers."""

import json
import unittest
import urllib.request

from upstash_redis import Redis
from upstash_redis.errors import UpstashError

from service import READ_ONLY_TOKEN, TOKEN, URL, Suite


class Strings(Suite):
    def test_strings_are_set_read_and_counted(self):
        redis = self.redis
        self.assertTrue(redis.set("k", "v"))
        self.assertEqual(redis.get("k"), "v")
        self.assertIsNone(redis.get("absent"))
        self.assertFalse(redis.set("k", "w", nx=True))
        self.assertEqual(redis.set("k", "w", get=True, ex=100), "v")
        self.assertGreater(redis.ttl("k"), 90)
        self.assertTrue(redis.mset({"a": "1", "b": "2"}))
        self.assertEqual(redis.mget("a", "b", "absent"), ["1", "2", None])
        self.assertEqual(redis.incrby("a", 41), 42)
        self.assertEqual(redis.incrbyfloat("a", 0.5), 42.5)
        self.assertEqual(redis.append("k", "x"), 2)
        self.assertEqual(redis.getrange("k", 0, 0), "w")
        self.assertEqual(redis.getdel("k"), "wx")
        self.assertEqual(redis.strlen("k"), 0)

    def test_bits_are_set_counted_and_packed(self):
        redis = self.redis
        self.assertEqual(redis.setbit("b", 7, 1), 0)
        self.assertEqual(redis.bitcount("b"), 1)
        self.assertEqual(redis.bitpos("b", 1), 7)
        self.assertEqual(redis.bitfield("f").set("u8", 0, 250).overflow("SAT").incrby("u8", 0, 10).execute(), [0, 255])


class Keys(Suite):
    def test_keys_are_typed_renamed_expired_and_scanned(self):
        redis = self.redis
        redis.mset({f"scan:{n}": n for n in range(300)})
        self.assertEqual(redis.type("scan:1"), "string")
        self.assertTrue(redis.rename("scan:1", "other"))
        self.assertTrue(redis.copy("other", "scan:1"))
        self.assertFalse(redis.copy("other", "other"))
        self.assertTrue(redis.expire("other", 100))
        self.assertTrue(redis.persist("other"))
        self.assertEqual(redis.exists("other", "absent"), 1)
        seen, cursor = set(), 0
        while True:
            cursor, page = redis.scan(cursor, match="scan:*", count=50)
            seen.update(page)
            if cursor == 0:
                break
        self.assertEqual(len(seen), 300)
        self.assertEqual(redis.ping(), "PONG")
        self.assertEqual(redis.echo("hi"), "hi")
        self.assertEqual(redis.delete("other"), 1)


class Data(Suite):
    TEXTS = ["Größe", "汉字", "👩‍👩‍👧‍👦", "مرحبا", "e\u0301", "", " ", "OK", "\"\\\n\t\0\x7f\u2028", '{"a": 1', "T0s="]

    def test_text_comes_back_exactly(self):
        for encoding in ("base64", None):
            redis = Redis(url=URL, token=TOKEN, rest_encoding=encoding, rest_retries=0)
            for text in self.TEXTS:
                with self.subTest(text=text, encoding=encoding):
                    redis.set("k", text)
                    self.assertEqual(redis.get("k"), text)
                    self.assertEqual(redis.mget("k", "k"), [text, text])
            redis.close()

    def test_numbers_keep_every_digit(self):
        redis = self.redis
        redis.set("n", 9007199254740992)
        self.assertEqual(redis.incr("n"), 9007199254740993)
        redis.set("n", 9223372036854775806)
        self.assertEqual(redis.incr("n"), 9223372036854775807)
        redis.set("n", 1.0)
        self.assertEqual(redis.get("n"), "1.0")

    def test_objects_are_stored_as_json(self):
        value = {"id": 7, "list": [1, None], "word": "ü"}
        self.redis.set("k", value)
        self.assertEqual(json.loads(self.redis.get("k")), value)

    def test_every_byte_is_kept(self):
        body = bytes(range(256))
        request = urllib.request.Request(
            f"{URL}/set/bytes", data=body, headers={"Authorization": f"Bearer {TOKEN}"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            self.assertEqual(answer.status, 200)
        self.assertEqual(self.redis.strlen("bytes"), 256)


class Errors(Suite):
    def test_an_error_of_redis_is_raised_word_for_word(self):
        self.redis.rpush("l", "a")
        with self.assertRaisesRegex(UpstashError, "^WRONGTYPE Operation against a key"):
            self.redis.incr("l")
        with self.assertRaisesRegex(UpstashError, "^ERR"):
            self.redis.execute(["BLPOP", "l", "0"])
        with self.assertRaisesRegex(UpstashError, "^ERR wrong number of arguments for 'get'"):
            self.redis.execute(["GET"])

    def test_tokens_decide(self):
        self.redis.set("k", "v")
        with self.assertRaisesRegex(UpstashError, "^WRONGPASS"):
            Redis(url=URL, token="nobody", rest_retries=0).get("k")
        reader = Redis(url=URL, token=READ_ONLY_TOKEN, rest_retries=0)
        self.assertEqual(reader.get("k"), "v")
        for call in (lambda: reader.set("k", "w"), lambda: reader.eval("return 1"), lambda: reader.keys("*")):
            with self.assertRaisesRegex(UpstashError, "^NOPERM this user has no permissions to run the '"):
                call()


if __name__ == "__main__":
    unittest.main()
