"""What docker-watcher does, shown on real services: `make demo`."""
