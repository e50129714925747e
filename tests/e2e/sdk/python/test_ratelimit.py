"""`upstash-ratelimit`: its three algorithms."""

import time
import uuid

from upstash_ratelimit import FixedWindow, Ratelimit, SlidingWindow, TokenBucket

from service import Suite, until


class Limits(Suite):
    ALGORITHMS = {
        "fixed window": lambda: FixedWindow(max_requests=3, window=3600),
        "sliding window": lambda: SlidingWindow(max_requests=3, window=3600),
        "token bucket": lambda: TokenBucket(max_tokens=3, refill_rate=3, interval=3600),
    }

    def setUp(self):
        super().setUp()
        # Windows begin at full hours: a test that crosses one would rightly see more calls pass.
        until(lambda: time.time() % 3600 < 3585, "the hour has fifteen seconds left", 20)

    def limit(self, algorithm):
        return Ratelimit(redis=self.redis, limiter=algorithm, prefix=str(uuid.uuid4()))

    def test_three_of_five_calls_pass(self):
        for name, algorithm in self.ALGORITHMS.items():
            with self.subTest(name):
                limit = self.limit(algorithm())
                self.assertEqual(limit.get_remaining("ada"), 3)
                answers = [limit.limit("ada") for _ in range(5)]
                self.assertEqual([answer.allowed for answer in answers], [True, True, True, False, False])
                self.assertEqual([answer.remaining for answer in answers[:3]], [2, 1, 0])
                self.assertGreater(answers[0].reset, time.time())
                self.assertEqual(limit.get_remaining("ada"), 0)
                self.assertTrue(limit.limit("bob").allowed)

    def test_a_call_may_cost_more_than_one(self):
        for name, algorithm in self.ALGORITHMS.items():
            with self.subTest(name):
                limit = self.limit(algorithm())
                self.assertTrue(limit.limit("ada", rate=2).allowed)
                self.assertFalse(limit.limit("ada", rate=2).allowed)

    def test_a_limit_is_open_again_when_its_window_is_over(self):
        limit = self.limit(FixedWindow(max_requests=1, window=300, unit="ms"))
        until(lambda: not limit.limit("ada").allowed, "the window is full")
        until(lambda: limit.limit("ada").allowed, "the next window opens")
