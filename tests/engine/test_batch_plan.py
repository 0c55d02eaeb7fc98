from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia.engine.optim.batch_plan import SharedBatch, remark, share

counts = st.integers(1, 64)


@given(processes=counts, images=counts, parts=counts)
def test_sharing_out_is_the_inverse_of_the_product(processes: int, images: int, parts: int) -> None:
    batch = SharedBatch(processes, images, parts)
    assert share(batch.total, processes=processes, micro_batch_size=images) == batch


@given(total=st.integers(-5, 500), processes=counts, images=counts)
def test_what_the_message_offers_can_be_shared_out(total: int, processes: int, images: int) -> None:
    try:
        assert share(total, processes=processes, micro_batch_size=images).total == total
    except ValueError as error:
        assert total % (processes * images) or total < 1
        text = str(error)
        assert text.startswith(f"a total batch of {total} is no multiple of")
        nearest = [int(word) for word in text.partition("nearest that ")[2].split(".")[0].split() if word.isdigit()]
        assert nearest
        for offered in nearest:
            assert share(offered, processes=processes, micro_batch_size=images).total == offered
            assert abs(offered - total) <= processes * images + max(0, -total)


def test_the_log_says_how_the_batch_comes_about() -> None:
    assert str(SharedBatch(1, 1)) == "1 image per step: 1 process x 1 image"
    assert str(SharedBatch(2, 2, 4)) == "16 images per step: 2 processes x 2 images x 4 accumulation steps"
    assert remark(SharedBatch(2, 2, 4), 16) == remark(SharedBatch(2, 2, 4), None) == str(SharedBatch(2, 2, 4))
    told = remark(SharedBatch(1, 2), 16)
    assert told.startswith("2 images per step: 1 process x 2 images. ")
    assert "meant for 16 images per step: --batch 16 --batch-per-device 2" in told


def test_needs_no_torch() -> None:
    code = "import intarsia.engine.optim.batch_plan, intarsia.workflows.adjust, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_can_be_shared_by_less_than_one_image() -> None:
    with pytest.raises(ValueError, match="a total batch of 0"):
        share(0, processes=1, micro_batch_size=1)
