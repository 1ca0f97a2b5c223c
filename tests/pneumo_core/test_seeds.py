"""Random draws are pure functions of their key."""

import itertools

from pneumo_core.seeds import derive, generator


def test_equal_keys_draw_equally_whatever_was_drawn_before() -> None:
    """A resumed epoch draws what the uninterrupted one drew."""
    first = generator(0, "shuffle", 3).permutation(10)
    generator(0, "shuffle", 2).permutation(10)
    assert (generator(0, "shuffle", 3).permutation(10) == first).all()


def test_every_part_of_the_key_matters() -> None:
    """Seed, purpose, epoch and step never share draws, and indices do not run into one another."""
    keys = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", 1, 1), (0, "a", 11), (0, "a", 1, 11), (0, "a", 11, 1)]
    draws = [derive(seed, purpose, *rest) for seed, purpose, *rest in keys]
    assert all(a != b for a, b in itertools.combinations(draws, 2))


def test_derived_seeds_fit_the_bits_asked_for() -> None:
    """Libraries that take 31-bit seeds get such."""
    assert all(0 <= derive(seed, "x", bits=31) < 2**31 for seed in range(200))
    assert max(derive(seed, "x", bits=31) for seed in range(200)) > 2**30
