"""Few-shot segmentation: a frozen encoder, adapters, SAM's decoder, five labelled slices (section 4.3.1)."""
