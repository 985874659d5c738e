"""What can be claimed of a share after so many trials: exact binomial bounds, one-sided.

Source: C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in
the case of the binomial", Biometrika 26 (1934).
"""

import math

CONFIDENCE = 0.95


def lower_bound(n_right: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The share of right ones that is exceeded at this confidence; 0 where none was right.

    Raises:
        ValueError: counts out of range.
    """
    from scipy.special import betaincinv

    if not 0 <= n_right <= n:
        raise ValueError(f"`n_right` must be in 0..n. Received: n_right={n_right}, n={n}")
    if n_right == 0:
        return 0.0
    return float(betaincinv(n_right, n - n_right + 1, 1 - confidence))


def p_value(n_right: float, n: float, share: float) -> float:
    """How often so many or more were right if the share of right ones were only `share`.

    For whole numbers the binomial tail; for others, as one expects counts, its smooth continuation.
    """
    from scipy.special import betainc

    if n_right <= 0:
        return 1.0
    return float(betainc(n_right, n - n_right + 1, share))


def count_needed(share: float, confidence: float = CONFIDENCE) -> int:
    """So few images can show that `share` of the answers is right: all of them answered, all right.

    149 for 0.98 at 95% confidence.
    """
    return math.ceil(math.log(1 - confidence) / math.log(share) - 1e-9)
