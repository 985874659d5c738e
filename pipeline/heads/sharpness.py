"""How sure scores are: the one factor that turns them into honest probabilities by softmax.

It must be found on scores of rows that their head never saw, or the head is far too sure.
"""

import numpy as np

# The factor is looked for between these, for scores whose spread is 1.
_LEAST, _MOST = 1e-3, 1e5


def find_sharpness(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """The factor with which `softmax(factor * scores)` has the lowest log-loss.

    Each row counts as if it were its label but for one part in n + 2, so that the factor stays
    finite where every row is right. Sources: Guo et al., "On calibration of modern neural
    networks", ICML 2017 (one temperature, here its inverse); Platt, "Probabilistic outputs for
    support vector machines", 1999 (the part in n + 2).

    Args:
        scores: float64 `(n_samples, n_classes)` of rows that did not train.
        labels: int `(n_samples,)`.
        weights: float64 `(n_samples,)`, None = all count the same.

    Returns:
        The factor, above 0.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    n_samples, n_classes = scores.shape
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = float(np.sqrt(np.square(centred).mean()))
    if spread == 0:
        return 1.0
    centred /= spread
    share = np.full(n_samples, 1.0) if weights is None else weights
    share = share / share.sum()
    doubt = 1 / (n_samples + 2)
    of_label = centred[np.arange(n_samples), labels]
    # The other classes' scores sum to minus that of the label.
    gain = float(share @ ((1 - doubt) * of_label - doubt * of_label / (n_classes - 1)))

    def loss(log_factor: float) -> float:
        factor = np.exp(log_factor)
        return float(share @ logsumexp(factor * centred, axis=1)) - factor * gain

    bounds = (np.log(_LEAST), np.log(_MOST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x)) / spread
