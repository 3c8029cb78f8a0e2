"""The mathematics of DINOv2 and MAE as pure functions of tensors."""
