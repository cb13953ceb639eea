"""Small tools under the names of `keras.utils`."""

from fastconv.utils.numeric import normalize, to_categorical
from fastconv.utils.seeds import set_random_seed
from fastconv.utils.session import clear_session

__all__ = ["clear_session", "normalize", "set_random_seed", "to_categorical"]
