"""The open system for pretraining and judging MRI foundation encoders."""
