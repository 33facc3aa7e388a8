"""`docker.deploy`: an image becomes a running, proven container, or nothing is left of the attempt.

`accept` takes the message; `steps` holds what each step does, in their order; `machine` claims, commits and sends
the next; `outcome` tells the caller; `revoke` makes Celery's revoke a cancel. The picture of it all is in
`worker.record`. All but `steps` serve `docker.stage` as well.
"""

from tasks.deploy import accept, revoke, steps

__all__ = ["accept", "revoke", "steps"]
