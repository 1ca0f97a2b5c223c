"""TrialConfig refuses what could not be trained, and says all of it at once."""

import pytest

from pneumo_core.config import TrialConfig, value_problem
from pneumo_core.errors import ConfigError
from pneumo_core.preprocessing import CONTRASTS, DENOISINGS, RESIZINGS, Preprocessing


def test_defaults_are_legal_and_round_trip() -> None:
    """A configuration survives the way through a mapping unchanged, digest included."""
    config = TrialConfig()
    assert TrialConfig.from_mapping(config.to_mapping()) == config
    assert TrialConfig.from_mapping(config.to_mapping()).digest() == config.digest()


def test_a_digest_is_what_it_was_before_there_was_a_precision() -> None:
    """A registered model is known by it: else its trial would open the test folder again to be registered twice."""
    before = "1191d9c9d863433f03311dc30451e1f84a4bd6eb4fc6362162da7e7ccf93e557"  # by commit ed0a126
    assert TrialConfig().digest() == before
    assert TrialConfig(precision="mixed_bfloat16").digest() != before


def test_all_problems_are_reported_at_once() -> None:
    """A user with three mistakes sees three sentences."""
    with pytest.raises(ConfigError) as error:
        TrialConfig.from_mapping({"dropuot": 0.5, "dropout": 1.5, "image_size": 8})
    lines = str(error.value).splitlines()
    assert "did you mean dropout?" in lines[0]
    assert lines[1] == "dropout: expected a number from 0 up to 1 (excluded), got 1.5"
    assert lines[2] == "image_size: expected a whole number from 32 to 1024, got 8"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("learning_rate", "1e-3"),
        ("head_units", True),
        ("head_units", 12.0),
        ("unfrozen_layers", 14),
        ("batch_normalization", 1),
        ("optimizer", "Adam"),
        ("weights", " "),
        ("resize", "stretch"),
        ("denoise", "median"),
        ("contrast", True),
        ("label_smoothing", 0.5),
    ],
)
def test_impossible_values_are_refused(name: str, value: object) -> None:
    """Ends of ranges, kinds and spelling are checked, not trusted."""
    assert value_problem(name, value)
    with pytest.raises(ConfigError):
        TrialConfig.from_mapping({name: value})


@pytest.mark.parametrize(("name", "value"), [("dropout", 0), ("unfrozen_layers", 13), ("patience", 0)])
def test_ends_of_ranges_are_legal(name: str, value: object) -> None:
    """The last legal value is legal."""
    assert value_problem(name, value) is None


def test_whole_numbers_given_for_fractions_make_the_same_configuration() -> None:
    """`dropout: 0` in a space file is the same training as `dropout: 0.0`."""
    assert TrialConfig.from_mapping({"dropout": 0}).digest() == TrialConfig(dropout=0.0).digest()


def test_a_rung_cannot_outlast_the_schedule() -> None:
    """Hyperband's share of the epochs is a share."""
    with pytest.raises(ConfigError, match="stop_after"):
        TrialConfig(epochs=3, stop_after=4)
    assert TrialConfig(epochs=9, stop_after=3).epochs_to_run == 3
    assert TrialConfig(epochs=9).epochs_to_run == 9


def test_preprocessing_follows_from_its_three_settings() -> None:
    """Each setting ends up under its own name, counts in the digest, and defaults to changing nothing but the size."""
    assert TrialConfig().preprocessing == Preprocessing()
    digests = set()
    for name, values in (("resize", RESIZINGS), ("denoise", DENOISINGS), ("contrast", CONTRASTS)):
        for value in values:
            config = TrialConfig.from_mapping({name: value})
            assert getattr(config.preprocessing, name) == value
            digests.add(config.digest())
    assert len(digests) == 5
