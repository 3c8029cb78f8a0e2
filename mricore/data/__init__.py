"""Shards, manifest, epoch plan and the sources that feed a worker."""
