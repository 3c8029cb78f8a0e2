"""Five anatomies as ordered lists of (tissue, shape): later entries are painted over earlier ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mricore.imaging.phantoms.shapes import Points, Shape, column, cut, ellipsoid, tube, union
from mricore.imaging.phantoms.tissues import Tissue

Layers = list[tuple[Tissue, Shape, float]]
"""Tissue, shape, and the width in mm of a rim that belongs to it."""


def labels_at(points: Points, location: str, seed: int) -> NDArray[np.uint8]:
    """Tissue at each point (3, ...) in mm of the body part ``location`` of the person ``seed``.

    A person's size and shape follow from the seed; the same point has the same tissue in every scan.
    """
    rng = np.random.default_rng(seed)
    layers = ANATOMIES[location](rng)
    bent = _bent(points / np.float32(rng.uniform(0.9, 1.1)), rng)
    labels = np.zeros(points.shape[1:], np.uint8)
    for tissue, shape, rim in layers:
        labels[shape(bent) > -rim] = tissue
    return labels


def _bent(points: Points, rng: np.random.Generator) -> Points:
    """A smooth displacement of a few mm, different for each person."""
    bent = points.copy()
    for axis in range(3):
        for _ in range(3):
            wave = rng.normal(0, 0.025, 3).astype(np.float32)
            phase = np.tensordot(wave, points, axes=1) + np.float32(rng.uniform(0, 6.28))
            bent[axis] += np.float32(rng.uniform(1, 2.5)) * np.sin(phase)
    return bent


def _bone(shape: Shape) -> Layers:
    return [(Tissue.CORTEX, shape, 2.2), (Tissue.MARROW, shape, 0.0)]


def _limb(radius_x: float, radius_y: float, fat: float, taper: float) -> Layers:
    outer = column(radius_x, radius_y, taper)
    return [(Tissue.SKIN, outer, 0.0), (Tissue.FAT, outer, -2.0), (Tissue.MUSCLE, outer, -fat)]


def _muscles(places: list[tuple[float, float, float]], low: float, high: float) -> Layers:
    """Muscle bellies along z, (x, y, radius) each, parted by thin fat."""
    bellies = [tube((x, y, low), (x * 0.9, y * 0.9, high), r, r * 0.85) for x, y, r in places]
    return [(Tissue.FAT, union(*bellies), 1.5), *[(Tissue.MUSCLE, belly, -0.3) for belly in bellies]]


def _knee(rng: np.random.Generator) -> Layers:
    side = rng.choice([-1, 1])
    femur = union(
        tube((0, -2, 95), (0, 0, 25), 12, 17),
        ellipsoid((21, 4, 12), (20, 27, 19)),
        ellipsoid((-21, 4, 12), (19, 25, 18)),
    )
    notch = ellipsoid((0, 16, 2), (7, 18, 16))
    tibia = union(tube((0, 2, -95), (0, 2, -32), 11, 16), ellipsoid((0, 2, -22), (38, 24, 14), 2.6))
    fibula = tube((side * 34, 22, -95), (side * 33, 20, -32), 5, 7)
    patella = ellipsoid((0, -40, 20), (19, 9, 21))
    gap = ellipsoid((0, 2, -5), (40, 27, 5.5))
    ring = cut(
        ellipsoid((0, 2, -5), (39, 26, 5)),
        union(ellipsoid((21, 2, -5), (9, 10, 9)), ellipsoid((-21, 2, -5), (9, 10, 9))),
    )
    return [
        *_limb(rng.uniform(58, 68), rng.uniform(58, 68), rng.uniform(7, 14), 0.0015),
        *_muscles([(24, 36, 17), (-24, 36, 17), (34, 10, 13), (-34, 10, 13), (0, -30, 14)], 45, 120),
        *_muscles([(18, 34, 19), (-18, 34, 19), (-side * 30, 8, 10), (side * 22, -18, 11)], -120, -35),
        (Tissue.FAT, ellipsoid((0, -30, -6), (22, 15, 22)), 0.0),
        (Tissue.FLUID, ellipsoid((0, -30, 38), (20, 5 + 4 * rng.random(), 22)), 0.0),
        (Tissue.TENDON, tube((0, -42, 2), (0, -32, -42), 4.5, 4.5), 0.0),
        (Tissue.TENDON, tube((0, -40, 40), (0, -34, 85), 6, 5), 0.0),
        (Tissue.CARTILAGE, femur, 4.2),
        (Tissue.CARTILAGE, gap, 0.0),
        *_bone(femur),
        (Tissue.FAT, notch, 0.0),
        (Tissue.TENDON, tube((-8, 14, 8), (8, -6, -10), 3.5, 3.5), 0.0),
        (Tissue.TENDON, tube((6, 8, 8), (0, 24, -14), 4, 4), 0.0),
        *_bone(tibia),
        (Tissue.TENDON, ring, 0.0),
        *_bone(fibula),
        (Tissue.CARTILAGE, patella, 3.5),
        *_bone(patella),
        (Tissue.VESSEL, tube((3, 36, -120), (3, 36, 120), 4, 4.5), 0.0),
    ]


def _vertebrae(rng: np.random.Generator, low: float, high: float, pitch: float) -> Layers:
    """Bodies, discs, arches and processes, canal with cord, along z."""
    layers: Layers = []
    for z in np.arange(low, high, pitch):
        layers += _bone(union(tube((-38, 34, z), (38, 34, z), 4, 4), ellipsoid((0, 60, z - 8), (4, 17, 9))))
        layers += _bone(ellipsoid((0, 8, z), (25, 18, pitch / 2 - 5.5), 4.0))
        layers.append((Tissue.DISC, ellipsoid((0, 8, z + pitch / 2), (24, 17, 4.2), 3.0), 0.0))
        layers.append(
            (Tissue.CARTILAGE, ellipsoid((0, 8, z + pitch / 2), (10 * rng.uniform(0.6, 1), 7, 2)), 0.0)
        )
    canal = [((0, 37, low - 60), (0, 37, high + 60))]
    layers.append((Tissue.FAT, tube(*canal[0], 11, 11), 0.0))
    layers.append((Tissue.FLUID, tube(*canal[0], 8.5, 8.5), 0.0))
    layers.append((Tissue.CORD, tube((0, 38, 20), (0, 38, high + 60), 3, 5), 0.0))
    layers.append((Tissue.CORD, tube((1.5, 41, low - 60), (0, 40, 20), 1.2, 3), 0.0))
    return layers


def _trunk(rng: np.random.Generator) -> Layers:
    outer = column(rng.uniform(150, 175), rng.uniform(98, 118), 0.0004)
    fat = rng.uniform(12, 26)
    return [
        (Tissue.SKIN, outer, 0.0),
        (Tissue.FAT, outer, -2.0),
        (Tissue.MUSCLE, outer, -fat),
        (Tissue.FAT, outer, -fat - 9),
    ]


def _back_muscles() -> Layers:
    return _muscles(
        [(32, 66, 24), (-32, 66, 24), (44, 20, 17), (-44, 20, 17), (64, 48, 15), (-64, 48, 15)], -200, 200
    )


def _great_vessels() -> Layers:
    return [
        (Tissue.VESSEL, tube((9, -20, -200), (6, -18, 200), 8, 9.5), 0.0),
        (Tissue.VESSEL, tube((-14, -18, -200), (-14, -20, 200), 9, 10), 0.0),
    ]


def _bowel(rng: np.random.Generator, count: int, low: float, high: float) -> Layers:
    layers: Layers = []
    for _ in range(count):
        middle = (rng.uniform(-95, 95), rng.uniform(-75, -28), rng.uniform(low, high))
        radii = rng.uniform(11, 22, 3)
        layers += [(Tissue.BOWEL, ellipsoid(middle, radii), 0.0)]
        filling = rng.choice([Tissue.FLUID, Tissue.AIR, Tissue.BOWEL])
        layers += [(filling, ellipsoid(middle, radii * 0.7), 0.0)]
    return layers


def _spine(rng: np.random.Generator) -> Layers:
    return [
        *_trunk(rng),
        *_bowel(rng, 14, -110, 110),
        *_back_muscles(),
        *_vertebrae(rng, -150, 150, rng.uniform(33, 37)),
        *_great_vessels(),
    ]


def _abdomen(rng: np.random.Generator) -> Layers:
    spleen = cut(ellipsoid((98, 26, 40), (34, 40, 46)), ellipsoid((62, -5, 40), (36, 36, 60)))
    liver = cut(ellipsoid((-62, -18, 25), (74, 68, 70)), ellipsoid((-20, 40, -30), (52, 50, 75)))
    layers: Layers = [
        *_trunk(rng),
        *_bowel(rng, 16, -130, 10),
        *_back_muscles(),
        *_vertebrae(rng, -140, 140, 35),
        (Tissue.LIVER, liver, 0.0),
        (Tissue.FLUID, ellipsoid((-52, -48, -22), (12, 13, 24)), 0.0),
        (Tissue.BOWEL, ellipsoid((58, -36, 40), (38, 30, 34)), 0.0),
        (Tissue.FLUID, ellipsoid((58, -30, 40), (31, 20, 27)), 0.0),
        (Tissue.SPLEEN, spleen, 0.0),
        *_great_vessels(),
    ]
    for x in (-64, 64):
        layers += [
            (Tissue.FAT, ellipsoid((x, 40, -15), (34, 36, 62)), 0.0),
            (Tissue.KIDNEY, ellipsoid((x, 42, -15), (26, 27, 52)), 0.0),
            (Tissue.FAT, ellipsoid((x * 0.8, 36, -15), (14, 11, 28)), 0.0),
            (Tissue.FLUID, ellipsoid((x * 0.82, 36, -15), (8, 6, 18)), 0.0),
        ]
    vessels = [
        tube((-40, -10, 25), (-40 - 45 * c, -10 - 30 * s, 25 + 30 * s), 5, 2)
        for c, s in ((1, 0.2), (0.7, 0.9), (0.8, -0.8))
    ]
    return [*layers, (Tissue.VESSEL, union(*vessels), 0.0)]


def _thigh(rng: np.random.Generator) -> Layers:
    bellies = [
        (0, -44, 20),
        (34, -26, 22),
        (-34, -22, 21),
        (4, -22, 16),
        (38, 18, 18),
        (-42, 14, 19),
        (18, 42, 19),
        (-16, 44, 18),
        (-4, 26, 14),
    ]
    femur = tube((0, -2, -160), (4, 0, 160), 13, 14)
    return [
        *_limb(rng.uniform(80, 92), rng.uniform(80, 92), rng.uniform(8, 20), 0.001),
        *_muscles([(x * 1.02, y * 1.02, r) for x, y, r in bellies], -180, 180),
        (Tissue.CORTEX, femur, 3.0),
        (Tissue.CORTEX, femur, 0.0),
        (Tissue.MARROW, femur, -4.5),
        (Tissue.VESSEL, tube((-24, -4, -180), (-18, -10, 180), 4, 4.5), 0.0),
        (Tissue.VESSEL, tube((-30, 0, -180), (-25, -6, 180), 3.5, 4), 0.0),
        (Tissue.CORD, tube((2, 36, -180), (2, 32, 180), 4, 4), 0.0),
    ]


def _head(rng: np.random.Generator) -> Layers:
    head = union(ellipsoid((0, 0, 10), (76, 94, 92)), ellipsoid((0, -50, -50), (52, 48, 60)))
    brain = ellipsoid((0, 4, 22), (64, 80, 62))
    nose = ellipsoid((0, -98, -25), (11, 15, 17))
    ventricles = union(ellipsoid((9, 0, 26), (6, 30, 11)), ellipsoid((-9, 0, 26), (6, 30, 11)))
    eyes = union(ellipsoid((31, -74, -12), (12, 12, 12)), ellipsoid((-31, -74, -12), (12, 12, 12)))
    return [
        (Tissue.SKIN, union(head, nose), 0.0),
        (Tissue.FAT, head, -3.0),
        (Tissue.MUSCLE, ellipsoid((0, -20, -60), (50, 60, 50)), 0.0),
        (Tissue.AIR, ellipsoid((0, -70, -40), (12, 22, 24)), 0.0),
        (Tissue.CORTEX, brain, 8.0),
        (Tissue.FLUID, brain, 3.0),
        (Tissue.GREY_MATTER, brain, 0.0),
        (Tissue.WHITE_MATTER, brain, -rng.uniform(8, 11)),
        (Tissue.FLUID, ventricles, 0.0),
        (Tissue.GREY_MATTER, ellipsoid((0, 45, -32), (44, 30, 20)), 0.0),
        (Tissue.FLUID, eyes, 0.0),
    ]


ANATOMIES: dict[str, Callable[[np.random.Generator], Layers]] = {
    "knee": _knee,
    "lumbar_spine": _spine,
    "abdomen": _abdomen,
    "thigh": _thigh,
    "head": _head,
}
