"""Head experiments on cached features, each beside scikit-learn's way to the same answer.

On synthetic features of 14,000 images of 6 classes: every image left out at 100 strengths (peer:
`RidgeClassifierCV`, which squares an error, too, and gives no scores of single images); 5 folds of
the logistic head as a whole process (peer: `StandardScaler` and `LogisticRegressionCV` over the
same strengths, which then scores each image by a strength that it helped to choose); a second
`fit_head` in a process that has done one; and sweeps as whole processes: 24 logistic settings
(peer: `GridSearchCV` over `StandardScaler` and `LogisticRegression` with the same settings, judged
by the same validation rows), and these with 6 dense ones.

With `--choice`, on feature files of real images: the ridge strength that leaving out chooses and
the one that 5 folds choose, and how both do on images that neither saw, over 10 divisions.

    python benchmarks/experiments.py                      # about 10 minutes, most of it the peer's
    python benchmarks/experiments.py --short
    python benchmarks/experiments.py --only sweep --no-peer
    python benchmarks/experiments.py --choice cache/flowers-*.h5 cache/digits-*.h5
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    run_process,
    write_results,
)

N_CLASSES, N_FOLDS, N_STRENGTHS = 6, 5, 100
N_DIVISIONS, TEST_SHARE = 10, 0.3


def read(path: Path):
    """Features, labels and numbers that are the same for equal images."""
    import numpy as np

    import frostline

    features = frostline.features(path)
    X, y, _ = features.arrays()
    return X, y, np.unique(features.table()["digest"], return_inverse=True)[1]


def leave_one_out(path: Path) -> float:
    import frostline

    X, y, units = read(path)
    start = time.perf_counter()
    found = frostline.leave_one_out(X, y, groups=units)
    seconds = time.perf_counter() - start
    assert found.scores.shape == (N_STRENGTHS, *X.shape[:1], N_CLASSES)
    return seconds


def leave_one_out_by_scikit_learn(path: Path) -> float:
    import numpy as np
    from sklearn.linear_model import RidgeClassifierCV

    X, y, _ = read(path)
    centred = X.astype(np.float64) - X.mean(axis=0)
    greatest = np.linalg.eigvalsh(centred.T @ centred)[-1]
    start = time.perf_counter()
    RidgeClassifierCV(greatest * np.logspace(-6, 0.5, N_STRENGTHS)).fit(X.astype(np.float64), y)
    return time.perf_counter() - start


def folds(path: Path) -> float:
    """The whole process, its start included."""
    output = path.with_name("folds")
    command = [sys.executable, "cli.py", "fit-head", path, "--folds", N_FOLDS]
    return run_process([*command, "--output", output, "--force", "--quiet"]).seconds


def folds_by_scikit_learn(path: Path) -> float:
    """The fit alone; start and reading are not counted."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from pipeline.heads.logistic.strength_path import C_PATH

    X, y, _ = read(path)
    search = LogisticRegressionCV(
        Cs=list(C_PATH), cv=N_FOLDS, scoring="neg_log_loss", n_jobs=2, max_iter=1000
    )
    start = time.perf_counter()
    make_pipeline(StandardScaler(), search).fit(X, y)
    return time.perf_counter() - start


def second_fit(path: Path) -> float:
    import frostline

    for number in (1, 2):
        start = time.perf_counter()
        frostline.fit_head(path, output=path.with_name(f"fit-{number}"), force=True)
    return time.perf_counter() - start


def sweep(path: Path) -> float:
    """24 logistic settings, the whole process; the winner is fitted once more and written."""
    return run_sweep(path, "logreg")


def sweep_with_dense(path: Path) -> float:
    """The same and 6 dense ones."""
    return run_sweep(path, "logreg,dense")


def run_sweep(path: Path, heads: str) -> float:
    output = path.with_name("sweep")
    command = [sys.executable, "cli.py", "fit-head", path, "--sweep", "--head", heads]
    seconds = run_process([*command, "--output", output, "--force", "--quiet"]).seconds
    found = json.loads((output / "sweep.json").read_text())["settings"]
    assert len(found) == 24 + 6 * ("dense" in heads)
    assert not any(setting["failed"] for setting in found)
    return seconds


def sweep_by_scikit_learn(path: Path) -> float:
    """The fits alone; start and reading are not counted."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import frostline
    from pipeline.heads.sweep.settings import list_settings

    X, y, split = frostline.features(path).arrays()
    settings = [setting.options for setting in list_settings(None, ["logreg"], {})]
    grid = [
        {f"logisticregression__{name}": [value] for name, value in options.items()}
        for options in settings
    ]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    search = GridSearchCV(
        model, grid, scoring="neg_log_loss", cv=PredefinedSplit(split - 1), refit=False, n_jobs=2
    )
    start = time.perf_counter()
    search.fit(X, y)
    return time.perf_counter() - start


TASKS = {
    "every image left out, 100 strengths": (leave_one_out, leave_one_out_by_scikit_learn),
    "second fit_head in a process": (second_fit, None),
    "5 folds of logreg": (folds, folds_by_scikit_learn),
    "sweep, 24 logistic settings": (sweep, sweep_by_scikit_learn),
    "sweep, 24 logistic and 6 dense settings": (sweep_with_dense, None),
}


def time_in_a_process(function, path: Path) -> float:
    """Seconds that a function took by itself, in a process that does nothing else."""
    result = path.with_name("seconds.json")
    code = (
        "import json, sys; from pathlib import Path; import benchmarks.experiments as e; "
        f"s = e.{function.__name__}(Path({str(path)!r})); "
        f"Path({str(result)!r}).write_text(json.dumps(s))"
    )
    run_process([sys.executable, "-c", code])
    return float(json.loads(result.read_text()))


def compare_choices(path: Path) -> dict[str, float]:
    """Means over divisions: of test accuracy and log-loss at either choice, and at the best."""
    import numpy as np
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import StratifiedGroupKFold

    import frostline
    from pipeline.heads.sharpness import find_sharpness
    from pipeline.runs.scores import mean_log_loss, softmax

    X, y, units = read(path)
    found: dict[str, list[float]] = {}
    for seed in range(N_DIVISIONS):
        random = np.random.default_rng(seed)
        order = random.permutation(units.max() + 1)
        is_test = np.isin(units, order[: int(TEST_SHARE * len(order))])
        train, labels, of = X[~is_test], y[~is_test], units[~is_test]
        start = time.perf_counter()
        left_out = frostline.leave_one_out(train, labels, groups=of)
        seconds = time.perf_counter() - start
        alphas, targets = left_out.alphas, np.eye(y.max() + 1)[labels]
        errors = np.zeros(len(alphas))
        start = time.perf_counter()
        splitter = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
        for known, held in splitter.split(train, labels, of):
            middle = train[known].mean(axis=0, dtype=np.float64)
            rows = train[known] - middle
            # In the dual form, `(K + alpha I)^-1 y`, which no part of the library uses.
            squares, u = np.linalg.eigh(rows @ rows.T)
            loadings = u.T @ (targets[known] - targets[known].mean(axis=0))
            placed = (train[held] - middle) @ rows.T @ u
            for number, alpha in enumerate(alphas):
                scores = placed @ (loadings / (squares + alpha)[:, None])
                scores += targets[known].mean(axis=0)
                errors[number] += np.square(scores - targets[held]).sum()
        fold_seconds = time.perf_counter() - start
        accuracies, losses = [], []
        choices = {"left out": left_out.best, "5 folds": int(errors.argmin())}
        for strength in choices.values():
            ridge = Ridge(alphas[strength]).fit(train.astype(np.float64), targets)
            scores = ridge.predict(X[is_test])
            factor = find_sharpness(left_out.scores[strength], labels)
            losses.append(mean_log_loss(y[is_test], softmax(factor * scores)))
            accuracies.append(float((scores.argmax(axis=1) == y[is_test]).mean()))
        for name, value in {
            "accuracy, left out": accuracies[0],
            "accuracy, 5 folds": accuracies[1],
            "log-loss, left out": losses[0],
            "log-loss, 5 folds": losses[1],
            "alpha ratio": float(alphas[choices["left out"]] / alphas[choices["5 folds"]]),
            "seconds, left out": seconds,
            "seconds, 5 folds": fold_seconds,
        }.items():
            found.setdefault(name, []).append(value)
    return {name: statistics.fmean(values) for name, values in found.items()}


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, help="images  [default: 14,000; short: 2,000]")
    parser.add_argument("--repeat", type=int, default=1, help="times each  [default: 1]")
    parser.add_argument("--only", metavar="WORD", help="only tasks with this word in their name")
    parser.add_argument("--no-peer", action="store_true", help="leave scikit-learn out")
    parser.add_argument("--choice", type=Path, nargs="+", metavar="FEATURES", help="see above")
    arguments = parser.parse_args()
    machine = describe_machine(("numpy", "scipy", "scikit-learn"))
    print_machine(machine)
    if arguments.choice:
        chosen = {}
        for path in arguments.choice:
            chosen[path.stem] = compare_choices(path)
            print(path.stem, {n: round(v, 4) for n, v in chosen[path.stem].items()}, flush=True)
        columns = list(next(iter(chosen.values())))
        print_table(["", *columns], [[name, *found.values()] for name, found in chosen.items()])
        write_results(arguments.json, machine, chosen)
        return
    n_rows = arguments.rows or (2000 if arguments.short else 14_000)
    rows, results = [], {}
    with tempfile.TemporaryDirectory(prefix="frostline-experiments-") as name:
        path = Path(name) / "features.h5"
        code = (
            "from pathlib import Path; "
            "from benchmarks.synthetic_features import write_synthetic_features as w; "
            f"w(Path({str(path)!r}), {n_rows}, n_classes={N_CLASSES})"
        )
        run_process([sys.executable, "-c", code])
        for task, (ours, theirs) in TASKS.items():
            if arguments.only and arguments.only not in task:
                continue
            functions = (ours, None if arguments.no_peer else theirs)
            times: dict[str, list[float]] = {"ours": [], "scikit-learn": []}
            for _ in range(arguments.repeat):
                for name_of, function in zip(times, functions, strict=True):
                    if function is not None:
                        times[name_of].append(time_in_a_process(function, path))
                        print(f"{task}, {name_of}: {times[name_of][-1]:.1f} s", flush=True)
            own, peer = (statistics.median(found) if found else None for found in times.values())
            rows.append([task, own, peer, None if peer is None else peer / own])
            results[task] = times
    print(
        f"{n_rows:,} x 1,280 features, {N_CLASSES} classes; seconds, medians of {arguments.repeat}"
    )
    print_table(["", "Frostline", "scikit-learn", "times faster"], rows)
    write_results(arguments.json, machine, {"rows": n_rows, "seconds": results})


if __name__ == "__main__":
    main()
