"""The losses as the papers write them, in slow float64 loops; shares no code with the package."""

import math

import numpy as np


def log_softmax(row):
    shifted = row - row.max()
    return shifted - math.log(np.exp(shifted).sum())


def softmax(row):
    return np.exp(log_softmax(row))


def cross_entropy(target, logits, temperature):
    return -float((target * log_softmax(logits / temperature)).sum())


def dino(global_logits, local_logits, targets, temperature):
    """global_logits [2][B], local_logits [L][B], targets [2][B]: (global term, local term)."""
    slices = len(targets[0])
    pairs = 2 + 2 * len(local_logits)
    across, local = 0.0, 0.0
    for i in range(slices):
        for view in range(2):
            across += cross_entropy(targets[1 - view][i], global_logits[view][i], temperature)
        for crop in local_logits:
            for view in range(2):
                local += cross_entropy(targets[view][i], crop[i], temperature)
    return across / pairs / slices, local / pairs / slices


def ibot(logits, targets, masks, temperature):
    """masks (crops, g, g); logits and targets follow the masked patches crop by crop, row by row."""
    total, place = 0.0, 0
    for mask in masks:
        masked = int(mask.sum())
        for _ in range(masked):
            total += cross_entropy(targets[place], logits[place], temperature) / masked
            place += 1
    assert place == len(logits)
    return total / len(masks)


def koleo(tokens):
    unit = [token / np.linalg.norm(token) for token in tokens]
    total = 0.0
    for i, one in enumerate(unit):
        distances = [np.linalg.norm(one - other) for j, other in enumerate(unit) if j != i]
        apart = [distance for distance in distances if distance > 2e-3]
        if apart:
            total -= math.log(min(apart))
    return total / len(unit)


def sinkhorn(logits, temperature):
    """Three rounds: prototypes to equal mass, then samples to equal mass; rows of the result sum to 1."""
    q = np.exp(logits / temperature).T
    q /= q.sum()
    prototypes, samples = q.shape
    for _ in range(3):
        for k in range(prototypes):
            q[k] /= q[k].sum() * prototypes
        for i in range(samples):
            q[:, i] /= q[:, i].sum() * samples
    return (q * samples).T


def sinkhorn_in_logarithms(logits, temperature):
    """The same where exp(logits / temperature) would overflow."""
    log_q = logits / temperature
    for _ in range(3):
        for k in range(log_q.shape[1]):
            log_q[:, k] = log_softmax(log_q[:, k])
        for i in range(log_q.shape[0]):
            log_q[i] = log_softmax(log_q[i])
    return np.exp(log_q)


def mae(predictions, crops, hidden, patch, normalize):
    """Mean squared error over pixels, hidden patches and crops; crops (b, G, G), hidden (b, m) row-major."""
    total = 0.0
    for prediction, crop, places in zip(predictions, crops, hidden, strict=True):
        columns = crop.shape[1] // patch
        for values, place in zip(prediction, places, strict=True):
            row, column = divmod(int(place), columns)
            pixels = [crop[row * patch + y, column * patch + x] for y in range(patch) for x in range(patch)]
            mean, scale = 0.0, 1.0
            if normalize:
                mean = sum(pixels) / len(pixels)
                scale = math.sqrt(sum((p - mean) ** 2 for p in pixels) / (len(pixels) - 1) + 1e-6)
            errors = [(value - (p - mean) / scale) ** 2 for value, p in zip(values, pixels, strict=True)]
            total += sum(errors) / len(errors) / len(places)
    return total / len(crops)
