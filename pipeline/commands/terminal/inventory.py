"""What people see of what is there: backbones, feature files, converted networks."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table
from rich.text import Text

from pipeline.commands.terminal.lists import backbones_table, feature_files_table, networks_table
from pipeline.commands.terminal.output import Output
from pipeline.commands.terminal.sentences import describe_skipped
from pipeline.commands.terminal.tables import make_table, plain
from pipeline.images.splits import SPLITS
from pipeline.system.printable import count, printable

if TYPE_CHECKING:
    from pipeline.backbones.backbone import Backbone
    from pipeline.backbones.engines.network_store import StoredNetwork
    from pipeline.backbones.frost_lines import FrostLine
    from pipeline.features.feature_file import Contents, FeatureFile
    from pipeline.features.verify import Recomputed


class Inventory(Output):
    """Shows what there is, and what is in it."""

    def show_backbones(self, backbones: "list[Backbone]", *, as_json: bool) -> None:
        """The table of backbones."""
        if as_json:
            self.result_json([asdict(backbone) for backbone in backbones])
            return
        self.print_whole_table(backbones_table(backbones, self.columns))

    def show_frost_lines(
        self, backbone: "Backbone", lines: "list[FrostLine]", *, as_json: bool
    ) -> None:
        """A backbone's frost lines from the top."""
        if as_json:
            self.result_json([asdict(line) for line in lines])
            return
        table = make_table(
            "unfreeze from", "shape below", ">trainable above", ">work below", ">cache per image"
        )
        table.collapse_padding = True  # so that the usual names and shapes fit into 80 characters
        for line in lines:
            table.add_row(
                Text(printable(line.name)),
                " x ".join(str(size) for size in line.shape),
                f"{line.trainable_parameters_above:,}",
                f"{line.share_below:.1%}",
                f"{line.bytes_per_image / 1e3:,.1f} kB",
            )
        self.result(f"{printable(backbone.name)}: frost lines from the top")
        self.print_whole_table(table)

    def show_feature_files(
        self, files: "list[tuple[Path, Contents, int]]", problems: list[str], *, as_json: bool
    ) -> None:
        """The feature files of a folder; those that cannot be read are named."""
        for problem in problems:
            self.complain(f"Left out: {problem}")
        entries = [
            {
                "path": str(path),
                "n_samples": len(contents.images),
                "n_features": n_features,
                "backbone": contents.recipe.backbone,
                "image_size": contents.recipe.image_size,
                "created": contents.created,
            }
            for path, contents, n_features in files
        ]
        if as_json:
            self.result_json(entries)
            return
        if not entries:
            if not problems:
                self.say("No feature files yet. `frostline.extract(DATA)` makes one.")
            return
        self.print_whole_table(feature_files_table(entries, self.columns))

    def show_networks(self, networks: "list[StoredNetwork]", *, as_json: bool) -> None:
        """The converted networks that are kept."""
        if as_json:
            self.result_json([{**asdict(one), "path": str(one.path)} for one in networks])
        elif not networks:
            self.say("No converted network is kept. The next `frostline.extract(DATA)` keeps one.")
        else:
            self.print_whole_table(networks_table(networks, self.columns))
            self.result(f"in {printable(str(networks[0].path.parent))}")

    def show_cleared(self, n_networks: int, *, as_json: bool) -> None:
        """How many converted networks were deleted."""
        if as_json:
            self.result_json({"n_deleted": n_networks})
        else:
            self.result(f"{n_networks:,} converted network(s) deleted.")

    def show_features(
        self, file: "FeatureFile", recomputed: "Recomputed | None" = None, *, as_json: bool
    ) -> None:
        """What is in one feature file, and how far recomputed rows are from it."""
        contents = file.contents
        skipped = list(zip(contents.skipped.paths, contents.reasons, strict=True))
        facts = {
            "path": str(file.path),
            "n_samples": len(contents.images),
            "n_features": file.n_features,
            **({} if contents.views is None else {"views": asdict(contents.views)}),
            **({} if contents.shard is None else {"shard": contents.shard.describe()}),
            "classes": {
                name: int(np.sum(contents.labels == label))
                for label, name in enumerate(contents.class_names)
            },
            "splits": {
                name: int(np.sum(contents.splits == split)) for split, name in enumerate(SPLITS)
            },
            "split_rule": contents.split_rule,
            "n_skipped": len(skipped),
            "n_retired": len(contents.retired),
            "data_root": contents.data_root,
            "weights_source": contents.weights_source,
            "batch_size": contents.batch_size,
            "engines": [str(engine) for engine in contents.engines],
            "created": contents.created,
            "recipe_id": contents.recipe.id,
            "recipe": asdict(contents.recipe),
            "software": contents.software,
        }
        if as_json:
            engines = [asdict(engine) for engine in contents.engines]
            more = {} if recomputed is None else {"recomputed": asdict(recomputed)}
            self.result_json({**facts, "engines": engines, "skipped": dict(skipped), **more})
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in facts.items():
            table.add_row(name, Text(printable(plain(value))))
        self.print_table(table)
        for line in describe_skipped(skipped, n_shown=5):
            self.result(line)
        if recomputed is not None:
            self._show_recomputed(recomputed)

    def _show_recomputed(self, recomputed: "Recomputed") -> None:
        for problem in recomputed.problems:
            self.say(f"not compared: {problem}")
        self.say(f"Embedded again by {recomputed.engine}.")
        self.result(
            f"{count(recomputed.n_rows, 'row')} embedded again, greatest difference "
            f"{recomputed.greatest_difference:.2g} of the greatest feature."
        )
