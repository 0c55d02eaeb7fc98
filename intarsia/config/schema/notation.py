"""What the tables of all areas are written with."""

from __future__ import annotations

from intarsia.config.schema.fates import Fate, nothing, refused, to

SCOPE: dict[str, Fate] = {"_scope_": nothing("one table holds the parts of all registries")}
TYPE = to("what it is", "str")
FILES = refused(
    "data sets are read from files of this machine; mount what is elsewhere, or copy it (`aws s3 sync s3://... DIR`), "
    "and name that folder as data_root",
    None, {"backend": "local"}, {"backend": "disk"}, {"backend": "hardisk"},
)  # fmt: skip
WRITTEN = nothing("a run is written to --out, a folder of this machine")
DICT, OPTIONAL = "dict", "dict | None"
