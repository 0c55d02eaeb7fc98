from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.data.labels import LabelTable, is_varied, largest_share, ranges, value_counts

TYPES = st.sampled_from([np.uint8, np.uint16, np.int32, np.int64])


@st.composite
def tables(draw):
    ignore = draw(st.sampled_from([255, 0, 65535]))
    values = draw(
        st.dictionaries(st.integers(0, 300), st.one_of(st.just(ignore), st.integers(0, 400)), min_size=1, max_size=40)
    )
    return LabelTable(values, ignore_index=ignore)


@given(tables(), TYPES, st.integers(0, 2**32 - 1))
def test_apply_equals_looking_up_every_pixel(table, dtype, seed):
    rng = np.random.default_rng(seed)
    keys = [key for key in table.values if key <= np.iinfo(dtype).max]
    if not keys:
        return
    array = rng.choice(keys, size=(7, 9)).astype(dtype)
    mapped = table.apply(array, file="x.png")
    expected = [[table.values[int(value)] for value in row] for row in array]
    assert mapped.tolist() == expected
    assert mapped.dtype == np.min_scalar_type(max(table.ignore_index, *table.values.values()))


@given(tables(), TYPES, st.integers(0, 300))
def test_a_value_outside_the_table_is_named_or_ignored_or_kept(table, dtype, stranger):
    if stranger in table.values or stranger > np.iinfo(dtype).max:
        return
    keys = [key for key in table.values if key <= np.iinfo(dtype).max] or [stranger]
    array = np.full((4, 5), keys[0], dtype)
    array[1, 2] = array[3, 4] = stranger
    unknown = array == stranger
    with pytest.raises(ValueError, match=rf"b\.png.*\b{stranger} \(\d+ pixels\)"):
        table.apply(array, file="b.png")
    ignoring = LabelTable(table.values, ignore_index=table.ignore_index, outside="ignore").apply(array, file="b.png")
    keeping = LabelTable(table.values, ignore_index=table.ignore_index, outside="keep").apply(array, file="b.png")
    assert (ignoring[unknown] == table.ignore_index).all()
    assert (keeping[unknown] == stranger).all()
    if keys[0] != stranger:
        assert (ignoring[~unknown] == table.values[keys[0]]).all()
        assert (keeping[~unknown] == table.values[keys[0]]).all()


@given(
    st.dictionaries(st.tuples(*[st.integers(0, 255)] * 3), st.integers(0, 20), min_size=1, max_size=12),
    st.integers(0, 2**32 - 1),
)
def test_colours_are_looked_up_as_wholes(colours, seed):
    table = LabelTable(None, colours)
    keys = np.array(list(colours), dtype=np.uint8)
    picked = np.random.default_rng(seed).integers(0, len(keys), (6, 5))
    assert table.apply(keys[picked], file="c.png").tolist() == [
        [colours[tuple(int(part) for part in keys[index])] for index in row] for row in picked
    ]


def test_a_colour_outside_the_table_is_named():
    array = np.zeros((3, 3, 3), np.uint8)
    array[0, 0] = (1, 2, 3)
    with pytest.raises(ValueError, match=r"d\.png.*\(1, 2, 3\) \(1 pixels\).*1 colours"):
        LabelTable(None, {(0, 0, 0): 0}).apply(array, file="d.png")


def test_the_input_is_never_written_into():
    table = LabelTable({0: 0, 1: 1}, outside="ignore")
    array = np.array([[0, 1, 7]], np.uint8)
    array.setflags(write=False)
    assert table.apply(array, file="").tolist() == [[0, 1, 255]]


def test_grey_in_three_channels_is_grey_and_grey_for_a_colour_table_is_colour():
    grey = np.array([[0, 1], [1, 255]], np.uint8)
    coloured = np.repeat(grey[:, :, None], 3, axis=2)
    assert (LabelTable.identity(2).apply(coloured, file="") == grey).all()
    assert LabelTable(None, {(0, 0, 0): 1, (1, 1, 1): 0, (255, 255, 255): 255}).apply(grey, file="").tolist() == [
        [1, 0],
        [0, 255],
    ]
    coloured[0, 0, 1] = 9
    with pytest.raises(ValueError, match="holds colours"):
        LabelTable.identity(2).apply(coloured, file="e.png")


def test_reduce_zero_label():
    table = LabelTable.reduce_zero(150)
    assert table.apply(np.array([[0, 1, 150, 255]], np.uint8), file="").tolist() == [[255, 0, 149, 255]]


def test_values_that_run_one_too_far_point_to_reduce_zero_label():
    with pytest.raises(ValueError, match="reduce_zero_label"):
        LabelTable.identity(3).apply(np.array([[0, 1, 2, 3]], np.uint8), file="f.png")


def test_one_class_is_a_foreground_with_labels_0_and_1():
    assert LabelTable.identity(1).apply(np.array([[False, True]]), file="").tolist() == [[0, 1]]


def test_select_keeps_some_classes_in_another_order():
    table = LabelTable.reduce_zero(4).select([2, 0])
    assert table.apply(np.array([[0, 1, 2, 3, 4, 255]], np.uint8), file="").tolist() == [[255, 1, 255, 0, 255, 255]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": None}, "needs `values`"),
        ({"values": {}}, "needs `values`"),
        ({"values": {0: -1}}, "negative"),
        ({"values": {"a": 1}}, "not a pair of integers"),
        ({"values": None, "colours": {(0, 0): 1}}, "not a colour"),
        ({"values": None, "colours": {(0, 0, 256): 1}}, "not a colour"),
        ({"values": {0: 0}, "outside": "drop"}, "outside"),
        ({"values": {0: 0}, "ignore_index": -1}, "ignore_index"),
    ],
)
def test_impossible_tables_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LabelTable(**arguments)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.float32),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((2, 2, 3), np.uint16),
    ],
)
def test_what_is_no_label_is_refused(array):
    with pytest.raises(ValueError, match=r"g\.png"):
        LabelTable.identity(2).apply(array, file="g.png")


def test_tables_survive_pickling_and_compare_by_content():
    table = LabelTable({0: 3, 9: 255}, {(1, 2, 3): 4})
    copy = pickle.loads(pickle.dumps(table))
    assert copy == table
    assert copy.apply(np.array([[9, 0]], np.uint8), file="").tolist() == [[255, 3]]


@given(st.sets(st.integers(0, 300), min_size=1))
def test_ranges_say_exactly_the_values(values):
    read = set()
    for part in ranges(values).split(", "):
        first, _, last = part.partition("-")
        read |= set(range(int(first), int(last or first) + 1))
    assert read == values


@given(st.lists(st.integers(0, 255), min_size=1, max_size=200), TYPES)
def test_value_counts(values, dtype):
    counts = value_counts(np.array([values], dtype))
    assert counts == {value: values.count(value) for value in sorted(set(values))}
    assert list(counts) == sorted(counts)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=50), TYPES)
def test_the_largest_share_of_what_is_not_ignored(values, dtype):
    counts = [values.count(value) for value in set(values) - {4}]
    assert largest_share(np.array([values], dtype), ignored=4) == (max(counts) / sum(counts) if counts else 1)


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 6), st.sampled_from([0, 2, 255, 70_000]), TYPES,
    st.sampled_from([0.2, 0.5, 0.75, 1.0]), st.integers(0, 2**32 - 1), st.booleans(),
)  # fmt: skip
def test_whether_a_label_is_varied(height, width, count, ignored, dtype, limit, seed, uneven):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(count, 0.3)) if uneven else np.full(count, 1 / count)
    label = rng.choice(count, size=(height, width), p=weights).astype(dtype)
    label[rng.random(label.shape) < rng.choice([0, 0.3, 1])] = min(ignored, np.iinfo(dtype).max)
    assert is_varied(label, limit, ignored=ignored) == (largest_share(label, ignored=ignored) < limit)


def test_only_a_label_that_its_middle_does_not_decide_is_counted_whole(monkeypatch):
    monkeypatch.setattr("intarsia.data.labels.largest_share", None)
    rows = np.repeat(np.arange(64, dtype=np.uint8), 64).reshape(64, 64)
    assert is_varied(rows, 0.75, ignored=255)
    assert not is_varied(rows // 60, 0.75, ignored=255)


@settings(max_examples=500)
@given(
    st.integers(1, 255), st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**32 - 1),
    st.booleans(), st.integers(0, 3),
)  # fmt: skip
def test_a_table_that_adds_a_number_is_as_one_that_is_looked_up(count, added, other, target, seed, strangers, near):
    """To values of 0 to n - 1, and one more is listed: what is not listed is found, too, and the array is a new one."""
    values = {value: (value + added) % 256 for value in range(count)} | {other: target}
    table, slow = (LabelTable(values, tolerance=near, outside="ignore") for _ in range(2))
    object.__setattr__(slow, "_by_value", replace(slow._by_value, moved=None))
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 256, (7, 9)) if strangers else rng.choice(list(values), (7, 9))
    label = label.astype(np.uint8)[:, ::-1]
    label.setflags(write=False)
    found, expected = table.apply(label, file="a.png"), slow.apply(label, file="a.png")
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
    assert found.flags.writeable
    assert found.flags.c_contiguous
    assert not np.shares_memory(found, label)


def test_which_tables_are_known_to_add_a_number():
    def moved(values, **more):
        return LabelTable(values, **more)._by_value.moved

    assert moved({0: 0, 1: 1, 2: 2, 255: 255}) == (3, 0, 255, 255)
    assert moved({0: 255, 1: 0, 2: 1, 255: 255}) == (3, 255, 255, 255)
    assert moved({0: 0, 1: 1, 2: 2}) == (2, 0, 2, 2)
    assert moved({0: 5, 200: 7}) == (1, 5, 200, 7)
    assert moved({0: 0, 1: 2, 2: 1}) is None
    assert moved({1: 1, 2: 2}) is None
    assert moved({0: 0, 7: 7, 255: 255}) is None
    assert moved({0: 0, 1: 1, 300: 3}) is None
    assert moved({0: 0, 1: 1, 2: 300}) is None
    assert moved({0: 0, 1: 1, 2: 2}, ignore_index=1000) is None
