"""What docker-watcher's tasks stand on: settings, the engine adapter, the store, the command line.

Nothing here imports `tasks`; the Celery app names them as strings.
"""
