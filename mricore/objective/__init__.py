"""The mathematics of DINOv2 as pure functions of tensors."""
