"""The Python examples, run as their readers run them."""

import os
import subprocess
import sys

from service import Suite


class Examples(Suite):
    def test_the_guest_book_counts_its_visits(self):
        path = os.path.join(os.environ["EXAMPLES"], "python", "guestbook.py")
        told = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=20)
        self.assertEqual(told.stderr, "")
        self.assertEqual(told.stdout, "Ada: visit 1, last guest Grace, I tidy up\n")
