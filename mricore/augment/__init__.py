"""Views of MR slices: random crops with MR-valid intensity changes, and masks of patches."""
