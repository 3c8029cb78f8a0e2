"""Ray Train launch, worker, loop, optimisation step, checkpoints, telemetry."""
