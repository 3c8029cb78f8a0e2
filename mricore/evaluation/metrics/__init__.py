"""Metrics of segmentations, in the strict definitions and in the paper's: docs/metrics.md tells them all."""
