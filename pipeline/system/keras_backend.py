"""Which backend Keras is to compute with in this process: TensorFlow, unless the process says JAX.

Keras has one backend for the life of a process. A program that uses Frostline gets TensorFlow; only
a child process that does nothing but run the JAX engine says otherwise, before it imports Keras.
"""

_DEFAULT = "tensorflow"
_asked_for: list[str] = []


def ask_for_keras_on(backend: str) -> None:
    """To be called before anything imports `keras_on_tensorflow`; holds for the whole process."""
    _asked_for.append(backend)


def wanted_keras_backend() -> str:
    """`tensorflow`, or what the process asked for."""
    return _asked_for[-1] if _asked_for else _DEFAULT
