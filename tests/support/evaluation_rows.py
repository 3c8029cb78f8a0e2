"""Made-up results of an evaluation, with every protocol in it and nothing of patients."""

import json

import numpy as np

from mricore.data.storage import place
from mricore.evaluation.measurements import Measurement, to_csv
from mricore.evaluation.pictures import save_pictures, shown
from mricore.evaluation.tasks.volume import SliceKey

ENCODERS = {"random": 0.3, "sam": 0.5, "mine@epoch2": 0.55, "mine@epoch4": 0.7}
TASKS = {"mmthigh": ["muscle"], "abdomen": ["liver", "spleen"], "spine": ["L1"]}
PATIENTS = 5
PARTS = ["ankle", "hand"]


def few_shot(rng, task, encoder, draw, classes, mode="strict"):
    """Per class and in the mean over classes, for each patient's volume."""
    rows = []
    for patient in range(PATIENTS):
        base = ENCODERS[encoder] + 0.02 * patient + rng.normal(0, 0.03)
        for metric in ("dice_2d", "dice_3d", "nsd_mm" if mode == "strict" else "nsd_voxel"):
            values = [float(np.clip(base + rng.normal(0, 0.02), 0, 1)) for _ in classes]
            named = [*zip(classes, values, strict=True), ("mean", float(np.mean(values)))]
            rows += [
                Measurement(
                    "few_shot", task, mode, encoder, draw, f"p{patient}", f"c{patient}", label, metric, value
                )
                for label, value in named
            ]
    return rows


def linear_probe(rng, encoder, draw):
    """Accuracy of slices, and what each was taken for."""
    rows = []
    for patient in range(PATIENTS):
        true = PARTS[patient % 2]
        called = true if rng.random() < ENCODERS[encoder] else PARTS[1 - patient % 2]
        start = ("linear_probe", "body part", "strict", encoder, draw, f"p{patient}", f"c{patient}/3")
        rows.append(Measurement(*start, "mean", "accuracy", float(called == true)))
        rows += [Measurement(*start, true, f"called {part}", float(called == part)) for part in PARTS]
    return rows


def clusters(rng, encoder):
    """Two numbers of clusters."""
    return [
        Measurement(
            *("zero_shot", "abdomen", f"k={k}", encoder, 0, f"p{patient}", f"c{patient}/3", "liver"),
            *("dice_2d_best_cluster", float(np.clip(ENCODERS[encoder] + rng.normal(0, 0.05), 0, 1))),
        )
        for k in (4, 8)
        for patient in range(PATIENTS)
    ]


def slices(rng, task, layers, classes=1):
    """One picture of noise with maps of the names given."""
    image = rng.random((20, 24))
    truth = (image > 0.6).astype(np.uint8) * rng.integers(1, classes + 1, image.shape).astype(np.uint8)
    maps = {name: rng.integers(0, most + 1, image.shape).astype(np.uint8) for name, most in layers.items()}
    return [shown(task, SliceKey("c0", 3), image, truth, maps, (3.0, 1.0, 0.5))]


def units(seed=0, draws=3, mode="strict"):
    """(document, rows, pictures) of every unit."""
    rng = np.random.default_rng(seed)
    for encoder in ENCODERS:
        for task, classes in TASKS.items():
            for draw in range(draws):
                points = [{"epoch": at, "loss": 1.0, "validation": at / 40 + draw / 10} for at in (0, 10, 19)]
                document = {
                    **{"protocol": "few_shot", "task": task, "encoder": encoder, "draw": draw},
                    **{"curve": {"points": points}, "identity": {"settings": {"name": mode}}},
                }
                pictures = slices(rng, task, {"prediction": len(classes)}, len(classes)) if not draw else []
                yield document, few_shot(rng, task, encoder, draw, classes, mode), pictures
        for draw in range(draws):
            document = {"protocol": "linear_probe", "task": "body part", "encoder": encoder, "draw": draw}
            yield document, linear_probe(rng, encoder, draw), []
        document = {"protocol": "zero_shot", "task": "abdomen", "encoder": encoder, "draw": 0}
        yield document, clusters(rng, encoder), slices(rng, "abdomen", {"k=4": 3, "k=8": 7})


SUMMARY = {
    "protocol": "few_shot",
    "mode": "strict",
    "part": "test",
    "baseline": "sam",
    "settings": {"few_shot": {"lr": 1e-4}},
    "encoders": {
        "sam": {"origin": "sam, sha256 12", "digest": "ab"},
        "mine@epoch4": {"origin": "an encoder"},
    },
    "leaks": {"spine": "spine: of 40 slices none is in the pretraining data"},
    "failed": ["failed: few_shot of sam on knee, draw 2: out of memory"],
}


def write_results(folder, made, summary=None, table=True):
    """A folder as an evaluation leaves it; returns all its rows."""
    target, everything, digests = place(str(folder)), [], []
    for number, (document, rows, pictures) in enumerate(made):
        digest = f"{number:064x}"
        if pictures:
            save_pictures(target, f"pictures/{digest}.npz", pictures)
        target.write_bytes(f"results/{digest}.csv", to_csv(rows))
        whole = {"seconds": 60.0, "code": "0.1.0+abc", **document}
        target.write_bytes(f"results/{digest}.json", json.dumps(whole).encode())
        everything += rows
        digests.append(digest)
    if table:
        target.write_bytes("measurements.csv", to_csv(everything))
    if summary is not None:
        target.write_bytes("evaluation.json", json.dumps({**summary, "units": digests}).encode())
    return everything
