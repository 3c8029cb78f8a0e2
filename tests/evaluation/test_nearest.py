"""Rows of nearest neighbours against scikit-learn's vote, and who is judged by whom."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from mricore.config.probes import NearestNeighbours
from mricore.errors import UserError
from mricore.evaluation.linear_probe import Probed, confusion
from mricore.evaluation.nearest import run

SETTINGS = NearestNeighbours(neighbours=5, temperature=0.1)


def slices_of(features, labels, patients):
    return Probed(features, labels, patients, np.array([f"case/{i}" for i in range(len(labels))]))


def everyone(slices):
    return np.ones(len(slices.labels), bool)


def vote(slices, index):
    others = slices.patients != slices.patients[index]
    judge = KNeighborsClassifier(5, weights=lambda away: np.exp((1 - away) / 0.1), metric="cosine")
    judge.fit(slices.features[others], slices.labels[others])
    return judge.predict(slices.features[[index]])[0]


def test_rows_tell_what_scikit_learn_names_too(world):
    slices = slices_of(*world(np.random.default_rng(0), patients=9, each=6, signal=1.5))
    expected = [vote(slices, index) for index in range(54)]
    rows = run("e", "t", slices, everyone(slices), SETTINGS)
    accuracy = {row.case: row.value for row in rows if row.metric == "accuracy"}
    assert accuracy == {
        f"case/{index}": float(name == slices.labels[index]) for index, name in enumerate(expected)
    }
    assert 0.4 < np.mean(list(accuracy.values())) < 1
    called = {row.case: row.metric for row in rows if row.metric.startswith("called ") and row.value}
    assert called == {f"case/{index}": f"called {name}" for index, name in enumerate(expected)}
    classes, counts = confusion(rows)
    assert classes == ("c0", "c1", "c2")
    assert counts.sum(1).tolist() == [18, 18, 18]
    assert {(row.protocol, row.task, row.mode, row.encoder, row.draw) for row in rows} == {
        ("knn", "t", "strict", "e", 0)
    }


def test_only_those_who_are_asked_for_are_judged_and_all_others_are_neighbours(world):
    slices = slices_of(*world(np.random.default_rng(1), patients=9, each=6, signal=1.5))
    judged = np.isin(slices.patients, ["p0", "p4"])
    some = run("e", "t", slices, judged, SETTINGS)
    assert {row.patient for row in some} == {"p0", "p4"}
    assert set(some) < set(run("e", "t", slices, everyone(slices), SETTINGS))


def test_a_category_of_one_patient_misleads_but_is_not_judged_and_unknown_ones_do_neither(world):
    features, labels, patients = world(np.random.default_rng(2), patients=9, each=6)
    labels = labels.astype("U8")
    labels[patients == "p0"], labels[patients == "p1"] = "alone", "unknown"
    features[patients == "p0"] = features[patients == "p2"]
    features[patients == "p1"] = features[patients == "p2"]
    slices = slices_of(features, labels, patients)
    rows = run("e", "t", slices, everyone(slices), NearestNeighbours(neighbours=1))
    assert {row.label for row in rows} == {"mean", "c0", "c1", "c2"}
    misled = [row for row in rows if row.patient == "p2" and row.value == 1]
    assert [row.metric for row in misled] == ["called alone"] * 6
    assert "called unknown" not in {row.metric for row in rows}


def test_what_cannot_be_judged_is_refused(world):
    features, labels, patients = world(np.random.default_rng(3), patients=4, each=2, classes=4)
    slices = slices_of(features, labels, patients)
    with pytest.raises(UserError, match="0 categories occur in 2 patients"):
        run("e", "t", slices, everyone(slices), SETTINGS)
    labels = np.array(["a", "b", "a", "b"]).repeat(2)
    with pytest.raises(UserError, match="t: nobody who is judged has a category"):
        run("e", "t", slices_of(features, labels, patients), ~everyone(slices), SETTINGS)
