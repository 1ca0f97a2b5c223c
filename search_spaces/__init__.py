"""What can be searched: typed search spaces, and the YAML files they come from."""

from search_spaces.catalog import builtin_spaces, find_space
from search_spaces.confirmation import Confirmation
from search_spaces.errors import SpaceError
from search_spaces.loader import load_space
from search_spaces.parameters import ChoiceParameter, FloatParameter, IntParameter, Parameter
from search_spaces.scalars import Scalar, read_scalar
from search_spaces.schema import SearchSpace

__all__ = [
    "ChoiceParameter",
    "Confirmation",
    "FloatParameter",
    "IntParameter",
    "Parameter",
    "Scalar",
    "SearchSpace",
    "SpaceError",
    "builtin_spaces",
    "find_space",
    "load_space",
    "read_scalar",
]
