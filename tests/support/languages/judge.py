"""Judges the deliveries on its standard input, in lines of fields in base64, with a module."""

import base64
import importlib
import sys

sys.path.insert(0, ".")
module = importlib.import_module(sys.argv[1])
for line in sys.stdin:
    *texts, body = (base64.b64decode(each) for each in line.rstrip("\n").split(","))
    secret, now, *named = (each.decode() for each in texts)
    headers = dict(
        zip(("webhook-id", "webhook-timestamp", "webhook-signature"), named, strict=True)
    )
    sys.stdout.write(f"{module.is_genuine(secret, headers, body, int(now))}\n".lower())
