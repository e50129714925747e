"""What every suite starts from: a client as users make it, and an empty database before each test."""

import os
import time
import unittest

from upstash_redis import Redis

URL = os.environ["UPSTASH_REDIS_REST_URL"]
TOKEN = os.environ["UPSTASH_REDIS_REST_TOKEN"]
READ_ONLY_TOKEN = os.environ["READ_ONLY_TOKEN"]


def until(condition, what, seconds=10):
    """Waits for a condition, never for a length of time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain until {what}")
        time.sleep(0.02)


class Suite(unittest.TestCase):
    """Holds the client. Retries are off, so that a failure shows at once."""

    def setUp(self):
        self.redis = Redis(url=URL, token=TOKEN, rest_retries=0)
        self.addCleanup(self.redis.close)
        self.redis.flushdb()
