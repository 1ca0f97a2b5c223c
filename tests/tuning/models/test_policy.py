"""A policy file is either understood wholly or refused with everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pneumo_core.errors import PolicyError
from tuning.cli import app
from tuning.models.policy import Requirement, builtin_policies, open_policy, policy_for


def _policy(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_the_shipped_policies_are_found_by_name_and_by_model() -> None:
    """`demo` for the demo's model; `default` for all others; the one asked for before either."""
    assert list(builtin_policies()) == ["default", "demo"]
    assert [policy_for(model, None).name for model in ("demo", "vgg16", "mine")] == ["demo", "default", "default"]
    assert policy_for("vgg16", "demo").name == "demo"
    default = open_policy("default")
    assert default.confirmed
    assert default.test["sensitivity"] == Requirement(at_least=0.9, bound="lower")
    assert default.champion.superior == {"roc_auc": 0.0}


def test_the_cautious_end_of_the_interval_counts_unless_another_is_named(tmp_path: Path) -> None:
    """The lower one for what should be large, the upper one for what should be small."""
    policy = open_policy(_policy(tmp_path, "name: mine\ntest: {pr_auc: {at_least: 0.9}, brier: {at_most: 0.1}}\n"))
    assert (policy.test["pr_auc"].end, policy.test["brier"].end) == ("lower", "upper")
    assert not policy.confirmed


def test_everything_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    """Unknown keys and metrics with suggestions, impossible values, contradictions, ambiguous words."""
    path = _policy(
        tmp_path,
        """\
name: mine
tests: {}
test:
  sensitivty: {at_least: 0.9}
  specificity: {at_least: 90}
  brier: {at_least: 0.1, at_most: 0.2}
  roc_auc: {at_leest: 0.9, at_least: 0.8}
  sensitivity_fungus: {at_least: 0.5, bound: low}
champion: {superior: roc_auc, margin: 1}
limits: {latency_ms: fast}
confirmed: yes
""",
    )
    with pytest.raises(PolicyError) as refused:
        open_policy(path)
    told = [line.removeprefix(f"{path}:") for line in str(refused.value).splitlines()]
    assert told == [
        "2: tests: unknown key; did you mean test?",
        "4: test.sensitivty: no such metric; did you mean sensitivity?",
        "5: test.specificity.at_least: expected at most 1.0, got 90",
        "6: test.brier: expected either at_least or at_most",
        "7: test.roc_auc.at_leest: unknown key; did you mean at_least?",
        "8: test.sensitivity_fungus.bound: expected lower, value or upper, got 'low'",
        "9: champion.superior: expected a mapping (name: value), got 'roc_auc'",
        f"9: champion.margin: unknown key; {'known are superior, not_inferior, mcnemar'}",
        "10: limits.latency_ms: expected a number, got 'fast'",
        "11: confirmed: yes is true or false to some YAML readers and a word to others; write true, or 'yes' in quotes "
        "for the word",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("defalt", "no such policy; did you mean default?"),
        ("nowhere.yaml", "nowhere.yaml: no such file"),
        ("a/b", "a/b: no such file"),
    ],
)
def test_a_policy_that_is_not_there_is_named(name: str, message: str) -> None:
    """With what comes closest."""
    with pytest.raises(PolicyError, match=message):
        open_policy(name)


def test_no_policy_bears_the_name_of_what_it_does_not_ask(tmp_path: Path) -> None:
    """A copy of a shipped one may have its name until it is changed; one that asks nothing would let all pass."""
    text = builtin_policies()["default"].read_text()
    assert open_policy(_policy(tmp_path, text)).name == "default"
    with pytest.raises(PolicyError, match="1: name: default is a shipped policy"):
        open_policy(_policy(tmp_path, text.replace("0.95, bound", "0.5, bound")))
    for nothing in ("name: mine\n", "name: mine\nlimits: {}\nchampion: {mcnemar: 0}\nconfirmed: false\n"):
        with pytest.raises(PolicyError, match=":1: asks for nothing"):
            open_policy(_policy(tmp_path, nothing))


def test_a_requirement_asks_for_the_better_side(tmp_path: Path) -> None:
    """A sensitivity of at most a half, or an error of at least one, is a slip."""
    for metric, side, other in (("sensitivity", "at_most", "at_least"), ("brier", "at_least", "at_most")):
        with pytest.raises(PolicyError, match=f"{metric}: (higher|lower) is better; ask for {other}"):
            open_policy(_policy(tmp_path, f"name: mine\ntest: {{{metric}: {{{side}: 0.5}}}}\n"))


def test_policies_can_be_listed_shown_and_checked(tmp_path: Path) -> None:
    """As spaces can; a file with a mistake ends with 2 and one line for it."""
    run = CliRunner().invoke
    assert "random weights" in run(app, ["policies"]).stdout
    assert run(app, ["policies", "show", "default"]).stdout.startswith("name: default\n")
    assert '"at_least": 0.9' in run(app, ["policies", "show", "default", "--json"]).stdout
    assert run(app, ["policies", "check", "demo"]).stdout == "demo: fine; asks for roc_auc, brier, latency, size.\n"
    wrong = run(app, ["policies", "check", _policy(tmp_path, "name: mine\nconfirmd: true\n")])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr.endswith("mine.yaml:2: confirmd: unknown key; did you mean confirmed?\n")
