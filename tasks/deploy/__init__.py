"""`docker.deploy`: an image becomes a running, proven container, or nothing is left of the attempt.

`accept` takes the message. What each step does is in `candidate`, `takeover`, `compensation`, `move` and `closing`;
`machine` claims, commits and sends the next; `outcome` tells the caller; `revoke` makes Celery's revoke a cancel. The
picture of it all is in `worker.record`.
"""

from tasks.deploy import accept, candidate, closing, compensation, move, revoke, takeover

__all__ = ["accept", "candidate", "closing", "compensation", "move", "revoke", "takeover"]
