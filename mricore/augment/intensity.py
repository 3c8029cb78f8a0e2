"""Changes of intensity that occur between MR acquisitions: contrast of tissues, coil and receiver."""

from __future__ import annotations

import torch
from torch import Tensor

from mricore.augment.noise import normal_pairs


def log_jitter(crops: Tensor, brightness: Tensor, contrast: Tensor, gamma: Tensor) -> Tensor:
    """Brightness, contrast about the mean, clamped to [0, 1], then gamma; the logarithm of the result.

    What multiplies the result may so be added to it, and its exponential costs less than a power.

    Args:
        crops: (N, S, S) in [0, 1].
        brightness: Factors (N,).
        contrast: Factors (N,).
        gamma: Exponents (N,).

    Returns:
        Logarithms (N, S, S), minus infinity for zero.
    """
    brightness, contrast, gamma = (values[:, None, None] for values in (brightness, contrast, gamma))
    shift = crops.mean((1, 2), keepdim=True) * brightness * (1 - contrast)
    return torch.addcmul(shift, crops, brightness * contrast).clamp_(0, 1).log_().mul_(gamma)


def log_bias_field(coefficients: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Logarithm of the factor by which a coil's smooth sensitivity multiplies each pixel.

    Args:
        coefficients: Of Legendre polynomials, by degree down and across (N, D, D).
        down: Places of a crop's rows in the slice, from -1 to 1 (N, S).
        across: Of its columns (N, S).

    Returns:
        The field (N, S, S).
    """
    degrees = coefficients.shape[1]
    return _legendre(down, degrees) @ coefficients @ _legendre(across, degrees).transpose(1, 2)


def places_in_slice(boxes: Tensor, sizes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where the rows and columns of crops lie in their slices, from -1 to 1: (N, size) each.

    ``boxes`` (N, 4) in pixels of slices of ``sizes`` (N, 2).
    """
    steps = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size
    places = boxes[:, :2, None] + boxes[:, 2:, None] * steps
    down, across = (2 * places / sizes[..., None].to(boxes.dtype) - 1).unbind(1)
    return down, across


def rician(crops: Tensor, sigmas: Tensor, keys: Tensor) -> Tensor:
    """The magnitude of crops (N, S, S) with complex Gaussian noise of ``sigmas`` (N,) (Gudbjartsson 1995).

    The noise of a pixel is a function of its crop's key (N,) and its place in the crop alone.
    """
    real, imaginary = normal_pairs(keys, crops[0].numel())
    real, imaginary = (part.mul_(sigmas[:, None]).view_as(crops) for part in (real, imaginary))
    return torch.hypot(real.add_(crops), imaginary)


def _legendre(places: Tensor, degrees: int) -> Tensor:
    """Polynomials P0, P1, ... at ``places`` (N, S): (N, S, degrees), by Bonnet's recursion."""
    found = [torch.ones_like(places), places]
    for degree in range(1, degrees - 1):
        found.append(((2 * degree + 1) * places * found[-1] - degree * found[-2]) / (degree + 1))
    return torch.stack(found[:degrees], -1)
