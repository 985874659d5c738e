"""BLAS in one thread, where blocks of rows are worked on in threads already."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """OpenBLAS's own threads would spin while they wait for each other and lose a factor of ten on
    a busy machine.
    """
    # Imported here, since the limit holds only for libraries that are loaded by then.
    import scipy.linalg.blas  # noqa: F401
    import sklearn.utils.extmath  # noqa: F401
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield
