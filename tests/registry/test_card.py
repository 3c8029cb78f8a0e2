"""The model card tells data, settings, licence, scores, limits and how to load."""

from dataclasses import replace

from mricore.registry.card import CardFacts, card

FACTS = CardFacts(
    name="mri-core",
    recipe="tiny",
    settings=["seed=3"],
    steps=64,
    counts={"slices": 1510, "patients": 9},
    distributions={"location": {"knee": 10, "hip": 1500}, "sequence": {"T1": 1510}, "vendor": {}},
    manifest_digest="d" * 64,
    generated_phantoms=False,
    own_scores=["vendor: k-NN accuracy 0.700"],
    method="dinov2",
    initial_weights="sam_vit_b_01ec64.pth, sha256 ec2d",
    initial_weights_licence="Apache-2.0",
    health="well",
)


def test_the_card_tells_data_settings_and_licence():
    text = card(FACTS)
    for part in (
        "1,510 slices, 9 patients",
        "slices by location: hip 1,500, knee 10",
        "slices by sequence: T1 1,510",
        "slices by vendor: not known",
        f"`{'d' * 16}`",
        "64 steps",
        "Settings other than the recipe's: `seed=3`",
        "sam_vit_b_01ec64.pth, sha256 ec2d (licence: Apache-2.0)",
        "vendor: k-NN accuracy 0.700",
        'mricore.load("models:/mri-core@champion")',
        "mlflow.pyfunc.load_model",
    ):
        assert part in text
    assert "phantoms" not in text
    assert "Training was" not in text


def test_what_is_not_known_is_said():
    text = card(replace(FACTS, own_scores=[], settings=[]))
    assert "recipe's: none" in text
    assert "- none: the data have no category with two classes" in text
    assert "- none yet" in text
    assert "It was not looked for whether labelled tasks hold slices" in text


def test_evaluations_and_their_leaks_are_told():
    text = card(replace(FACTS, scores=["liver 0.8"], leaks=["leaks: liver: 3 are in the pretraining data"]))
    assert "- liver 0.8" in text
    assert "- leaks: liver: 3 are in the pretraining data" in text
    assert "not looked for" not in text


def test_phantoms_and_illness_stand_at_the_top():
    text = card(replace(FACTS, generated_phantoms=True, health="ill at the end: collapse"))
    head = text.partition("## Data")[0]
    assert "of no use on patients" in head
    assert "Training was ill at the end: collapse." in head
