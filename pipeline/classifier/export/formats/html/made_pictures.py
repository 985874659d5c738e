"""Pictures that Python and the page make alike, so that a device can be checked without any photo.

Squares of plain colours, by numbers that 32 bits hold: nothing of the run's images goes along.
"""

import numpy as np

N_SQUARES = 8  # along each side
_FACTOR, _SUMMAND = 1_664_525, 1_013_904_223  # of Numerical Recipes' generator


def make_test_picture(seed: int, size: int) -> np.ndarray:
    """Pixels, uint8 `(size, size, 3)`, as `makeTestPicture` in `check_device.js` makes them."""
    state, colours = seed, []
    for _ in range(N_SQUARES * N_SQUARES * 3):
        state = (state * _FACTOR + _SUMMAND) % 2**32
        colours.append(state >> 24)
    squares = np.array(colours, np.uint8).reshape(N_SQUARES, N_SQUARES, 3)
    place = np.arange(size) * N_SQUARES // size
    picture: np.ndarray = squares[place][:, place]
    return picture
