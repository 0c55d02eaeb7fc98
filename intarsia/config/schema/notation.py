"""What the tables of all areas are written with."""

from __future__ import annotations

from intarsia.config.schema.fates import Fate, nothing, refused, to

SCOPE: dict[str, Fate] = {"_scope_": nothing("one table holds the parts of all registries")}
TYPE = to("what it is", "str")
LOCAL = "only local files are read"
FILES = refused(LOCAL, None, {"backend": "local"}, {"backend": "disk"})
DICT, OPTIONAL = "dict", "dict | None"
