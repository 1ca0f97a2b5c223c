"""Sentences about how a study stands, for the live view and for `tune status`."""

from __future__ import annotations

import math

from tuning.analysis.gain import Gain, gain_over
from tuning.live.forecast import Forecast, confirmation_left, search_left
from tuning.live.standing import Standing
from tuning.ranking import defined, format_value, objective_of
from tuning.record import TrialRecord


def span(seconds: float) -> str:
    """Returns a time as people say it: 38 s, 12 min, 3 h 20 min, 4 days."""
    if seconds < 100:
        return f"{math.ceil(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes < 2880 else f"{minutes // 1440} days"


def forecast_words(forecast: Forecast) -> str:
    """Returns what is left as a time, with its range where it has one: `about 3 min (2 min to 4 min)`."""
    likely, low, high = span(forecast.likely), span(forecast.low), span(forecast.high)
    return f"about {likely}" + ("" if low == high else f" ({low} to {high})")


def time_left(standing: Standing) -> str:
    """Returns what is left of the search and of the confirmation after it, in words; empty if nothing is."""
    search, confirmation = search_left(standing), confirmation_left(standing)
    parts = []
    if search:
        parts.append(f"{forecast_words(search)} left" + (" of the search" if confirmation else ""))
    elif not standing.confirms and standing.goes_on:
        return "time left: not known yet"
    if confirmation:
        parts.append(f"{forecast_words(confirmation)} " + ("to confirm" if search else "left to confirm"))
    return ", then ".join(parts)


def counts(standing: Standing) -> str:
    """Returns how many trials of the search are over, by status, under way and to come."""
    over = [f"{count} {status}" for status, count in standing.over.items() if count or status == "completed"]
    running = sum(not standing.record.trials[trial].confirms for trial in standing.running)
    left = standing.record.trials_wanted - standing.done - running if standing.record.searching else 0
    state = "running" if standing.goes_on else "left in the middle"
    more = [f"{running} {state}"] * (running > 0) + [f"{left} to come"] * (left > 0)
    if standing.retrainings and standing.record.confirm:
        more.append(f"{standing.retrained} of {standing.retrainings} trainings that confirm")
    return ", ".join([*over, *more])


def interval_of(standing: Standing, trial: TrialRecord) -> list[float | None]:
    """Returns the ends of the 95 % interval of the score that ranks a trial; empty if there are none."""
    if trial.confirmed:
        return [defined(trial.confirmed.low), defined(trial.confirmed.high)]
    return list(trial.intervals.get(standing.record.started.objective, []))


def score_of(trial: TrialRecord) -> float | None:
    """Returns the score that ranks a trial: that of its confirmation, or that of the search."""
    return trial.confirmed.score if trial.confirmed else trial.score


def gain(standing: Standing) -> Gain | None:
    """Returns what was gained; None without a baseline, or if the best is the baseline itself."""
    best, base = standing.best, standing.baseline
    return (
        None if best is None or base is None or best is base else gain_over(best, base, objective_of(standing.record))
    )


def overlap(standing: Standing) -> bool | None:
    """Returns whether the intervals of best and baseline in the search overlap; None where one has no interval."""
    objective = standing.record.started.objective
    first, other = (
        _known_ends(trial.intervals.get(objective, []) if trial else []) for trial in (standing.best, standing.baseline)
    )
    return None if first is None or other is None else first[0] <= other[1] and other[0] <= first[1]


def gain_words(standing: Standing) -> str:
    """Returns the gain as a sentence, with how sure it is; empty if there is none to tell."""
    best, base, gained = standing.best, standing.baseline, gain(standing)
    if best is None or base is None or gained is None:
        return ""
    told = f"{best.trial}: {gained.in_words()} over the baseline {base.trial}"
    if gained.of == "confirmed":
        return f"{told}, both confirmed"
    sure = {None: "", True: "; intervals overlap", False: "; intervals do not overlap"}
    return f"{told} in the search{sure[overlap(standing)]}"


def _known_ends(interval: list[float | None]) -> tuple[float, float] | None:
    known = [end for end in interval if end is not None]
    return (known[0], known[1]) if len(known) == 2 else None


def values_words(trial: TrialRecord, names: list[str] | None = None) -> str:
    """Returns a trial's active parameters, or those named, as `name=value`."""
    shown = trial.params if names is None else {name: trial.params.get(name) for name in names}
    return " ".join(f"{name}={format_value(value)}" for name, value in shown.items() if value is not None)
