"""Multi-crop and block masks on tensors."""
