"""Arrays: every dtype and layout comes back equal, with its strides, writable, by plain pickle."""

import io
import pickle

import array_values
import fastpersist
import numpy as np
import pytest
from compare import assert_isomorphic
from helpers import assert_same_pickle, examples, file_bytes, run_python, same_bytes, through_file
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

ARRAYS = array_values.arrays()
EVERYTHING = array_values.everything()

# NumPy's own, where a test makes or loads a matrix or a chararray.
pytestmark = [
    pytest.mark.filterwarnings("ignore:the matrix subclass is not:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*chararray.*:DeprecationWarning"),
]


@pytest.fixture(params=EVERYTHING, ids=lambda name: name.replace(" ", "_"))
def value(request):
    return EVERYTHING[request.param]()


def steps(array):
    """The strides that mean something."""
    if array.size == 0:
        return None
    return [stride for n, stride in zip(array.shape, array.strides, strict=True) if n > 1]


def contiguous_in_some_order(array):
    array = array.squeeze()
    order = sorted(range(array.ndim), key=lambda i: -array.strides[i])
    return array.transpose(order).flags.c_contiguous


def has_copied_padding(value):
    if type(value) is not np.ndarray or value.flags.c_contiguous or value.flags.f_contiguous:
        return False
    return has_padding(value.dtype)


def has_padding(dtype):
    if dtype.subdtype is not None:
        return has_padding(dtype.base)
    if dtype.names is None:
        return False
    parts = [dtype.fields[name][0] for name in dtype.names]
    return sum(part.itemsize for part in parts) < dtype.itemsize or any(map(has_padding, parts))


def assert_array_restored(array, back):
    assert type(back) is np.ndarray
    assert_isomorphic(np.asarray(array), back)
    assert back.flags.writeable
    if contiguous_in_some_order(array):
        assert steps(back) == steps(array)
    else:
        assert back.flags.c_contiguous


def test_the_files_value_is_equal(value):
    assert_isomorphic(array_values.as_loaded(value), through_file(value))


def test_dumps_gives_numpys_own_reduce(value):
    if has_copied_padding(value):
        pytest.skip("NumPy copies the structure, with chance bytes as its padding")
    assert_same_pickle(value)


def test_buffers_go_out_of_band_as_with_pickle(value):
    ours, theirs = [], []
    got = fastpersist.dumps(value, 5, buffer_callback=ours.append)
    expected = pickle.dumps(value, 5, buffer_callback=theirs.append)
    assert same_bytes(got, expected)
    assert [b.raw().tobytes() for b in ours] == [b.raw().tobytes() for b in theirs]


def test_strides_are_kept_and_arrays_are_writable():
    for name, build in ARRAYS.items():
        array = build()
        before = array.strides, array.flags.writeable
        assert_array_restored(array, through_file({name: array})[name])
        assert (array.strides, array.flags.writeable) == before, "the user's array is left alone"


dtypes = st.one_of(
    hnp.scalar_dtypes(),
    hnp.array_dtypes(hnp.scalar_dtypes(), max_size=3, allow_subarrays=True),
)


@st.composite
def views(draw):
    """An array of any dtype and shape, then seen through a few view operations."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
    array = array_values.writable(int(np.prod(shape)), draw(dtypes)).reshape(shape)
    if draw(st.booleans()):
        array = np.asfortranarray(array)
    for _ in range(draw(st.integers(0, 3))):
        how = draw(st.sampled_from(["transpose", "slice", "broadcast", "field"]))
        if how == "transpose":
            array = array.transpose(draw(st.permutations(range(array.ndim))))
        elif how == "slice" and array.ndim:
            axis = draw(st.integers(0, array.ndim - 1))
            step = draw(st.sampled_from([-3, -2, -1, 1, 2]))
            start = draw(st.sampled_from([None, 1, -2]))
            array = array[(slice(None),) * axis + (slice(start, None, step),)]
        elif how == "broadcast" and array.ndim < 5:
            array = np.broadcast_to(array, (draw(st.integers(0, 3)), *array.shape))
        elif how == "field" and array.dtype.names:
            array = array[draw(st.sampled_from(array.dtype.names))]
    return array


@examples(300)
@given(st.lists(views(), min_size=1, max_size=3))
def test_any_view_of_any_array(generated):
    back = through_file(generated)
    for array, copy in zip(generated, back, strict=True):
        assert_array_restored(array, copy)
    assert_same_pickle(generated, protocols=[2, 5])


READ_ELSEWHERE = """
import pickle, sys, warnings
import joblib
import array_values
from compare import assert_isomorphic
warnings.filterwarnings("ignore", "the matrix subclass is not", PendingDeprecationWarning)
warnings.filterwarnings("ignore", ".*chararray", DeprecationWarning)
with open(sys.argv[1], "rb") as file:
    by_pickle = pickle.load(file)
by_joblib = joblib.load(sys.argv[1])
expected = {name: array_values.as_loaded(build())
            for name, build in array_values.everything().items()}
assert list(by_pickle) == list(by_joblib) == list(expected)
for got in (by_pickle, by_joblib):
    for name, value in expected.items():
        try:
            assert_isomorphic(value, got[name])
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None
        if name in array_values.arrays():
            assert got[name].flags.writeable
assert not [name for name in sys.modules if name.startswith("fastpersist")]
print(len(expected))
"""


def test_read_by_pickle_and_joblib_where_fastpersist_is_not_imported(tmp_path):
    path = tmp_path / "arrays.pkl"
    fastpersist.dump({name: build() for name, build in EVERYTHING.items()}, path)
    assert int(run_python(READ_ELSEWHERE, path)) == len(EVERYTHING) > 450


# ---------------------------------------------------------------- identity and memory


def test_one_array_twice_is_stored_once():
    array = array_values.writable(5000)
    once, twice = len(file_bytes([array])), len(file_bytes([array, array]))
    assert twice - once < 100
    first, second = through_file([array, array])
    assert first is second


def test_views_of_one_memory_become_separate_arrays():
    base = np.arange(10.0)
    whole, part, same = through_file([base, base[2:5], base[:]])
    whole[:] = -1
    assert part.tolist() == [2, 3, 4]
    assert same.tolist() == list(range(10))


@pytest.mark.parametrize("n", [3, 100, 5000])
def test_neighbours_in_a_shared_blob_do_not_touch(n):
    arrays = through_file([np.full(n, i) for i in range(20)])
    for i, array in enumerate(arrays):
        array[:] = -i
    for i, array in enumerate(arrays):
        assert (array == -i).all()


def test_read_only_arrays_come_back_writable():
    array = np.arange(5)
    array.flags.writeable = False
    back = through_file(array)
    back[0] = 7
    assert back.tolist() == [7, 1, 2, 3, 4]


def test_writable_arrays_of_every_size():
    for n in array_values.SIZES:
        array = array_values.writable(n, "u1")
        back = through_file(array)
        back[:] = 1
        assert back.sum() == n


def test_padding_of_structures_is_zero_in_the_file():
    raw = np.full(24 * 3000, 0xAB, "u1")
    array = raw.view(array_values.ALIGNED)
    for name in array.dtype.names:
        array[name] = 1
    for part in (array, array[:5], array[::2], np.asfortranarray(array.reshape(2, -1))):
        data = file_bytes(part)
        assert b"\xab\xab" not in data
        assert_isomorphic(part, pickle.loads(data))
    assert (raw == 0xAB).sum() > 3000, "the user's own memory is left alone"


def test_padding_in_nested_structures_is_zero_in_the_file():
    nested = np.dtype([("x", "u1"), ("s", array_values.ALIGNED, (2,)), ("y", "u1")], align=True)
    raw = np.full(nested.itemsize * 400, 0xAB, "u1")
    array = raw.view(nested)
    array["x"] = array["y"] = 1
    for name in array["s"].dtype.names:
        array["s"][name] = 2
    data = file_bytes(array)
    assert b"\xab\xab" not in data
    assert_isomorphic(array, pickle.loads(data))


def test_a_memory_map_is_stored_as_an_array(tmp_path):
    mapped = np.memmap(tmp_path / "raw", "f8", "w+", shape=(50, 60))
    mapped[:] = np.arange(3000).reshape(50, 60)
    for view in (mapped, mapped[1:3], mapped[::2, ::-1], mapped.T, mapped[:0]):
        back = through_file([view, view])
        assert back[0] is back[1]
        assert_array_restored(np.asarray(view), back[0])
    read_only = np.memmap(tmp_path / "raw", "f8", "r")
    assert_array_restored(np.asarray(read_only), through_file(read_only))
    assert_same_pickle(mapped[:3])


def test_arrays_are_asked_for_their_reducers_first():
    """copyreg and dispatch_table come before the array's own fast path."""
    import copyreg

    copyreg.pickle(np.ndarray, lambda array: (sorted, ([3, 1, 2],)))
    try:
        assert through_file([np.arange(3)]) == [[1, 2, 3]]
        assert_same_pickle(np.arange(3))
    finally:
        del copyreg.dispatch_table[np.ndarray]
    file = io.BytesIO()
    pickler = fastpersist.Pickler(file, 5)
    pickler.dispatch_table = {np.ndarray: lambda array: (sorted, ([3, 1, 2],))}
    pickler.dump([np.arange(3)])
    assert pickle.loads(file.getvalue()) == [[1, 2, 3]]


def test_the_graph_names_arrays_by_the_public_constructor():
    data = file_bytes([np.arange(3), np.array([1, "x"], object), np.float64(1.5), np.eye(2)])
    assert b"_core" not in data, "names a module that NumPy 1.26 lacks"
    assert b"_frombuffer" not in data


def test_foreign_byte_order_is_stored_as_it_is():
    back = through_file(np.arange(5, dtype=">f4"))
    assert back.dtype.str == ">f4"


def test_a_dtype_of_the_users_own_class():
    array = np.zeros(3, array_values.RECORD)
    back = through_file(array)
    assert back.dtype.type is np.record
    assert back[0].x == 0


# ---------------------------------------------------------------- dtypes of others


def test_dtypes_of_ml_dtypes():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name in ("bfloat16", "float8_e5m2", "float8_e4m3fn", "int4", "uint4", "float8_e4m3b11fnuz"):
        dtype = np.dtype(getattr(ml_dtypes, name))
        array = np.array([0, 1, -1 if "uint" not in name else 1, 3], "f4").astype(dtype)
        for view in (array, array[::2], np.tile(array, 9000), array.reshape(2, 2).T, array[:0]):
            back = through_file(view)
            assert back.dtype == dtype and type(back) is np.ndarray
            assert back.astype("f4").tolist() == view.astype("f4").tolist()
            assert back.shape == view.shape
        assert through_file(dtype) == dtype
        assert_same_pickle([array, array[1]])


@pytest.mark.skipif(not array_values.NUMPY_2, reason="StringDType came with NumPy 2")
def test_variable_width_strings():
    from numpy.dtypes import StringDType

    texts = ["", "short", "é" * 50, "long " * 5000]
    for dtype in (StringDType(), StringDType(na_object=None), StringDType(coerce=False)):
        array = np.array(texts, dtype=dtype)
        for view in (array, array[::-2], array.reshape(2, 2), array[:0], np.tile(array, 3000)):
            back = through_file([view, view])
            assert back[0] is back[1]
            assert back[0].dtype == dtype and back[0].tolist() == view.tolist()
        assert_same_pickle(array)


# ---------------------------------------------------------------- other large leaves

TEXTS = {"ASCII": "a", "Latin-1": "é", "BMP": "漢", "astral": "😀", "surrogates": "\udc80"}
LEAF_SIZES = [1, 16_383, 16_384, 16_385, 65_536, 262_144, 1_500_000]


@pytest.mark.parametrize("size", LEAF_SIZES)
@pytest.mark.parametrize("kind", TEXTS)
def test_large_text(kind, size):
    unit = TEXTS[kind]
    n = max(1, size // len(unit.encode("utf-8", "surrogatepass")))
    for text in (unit * n, "x" + unit * n, unit * n + "mixed é漢😀"):
        back = through_file([text, text, {text: text}])
        assert back[0] == text and back[0] is back[1]
        assert back[2][back[0]] is back[0]
        assert_same_pickle([text, text])


@pytest.mark.parametrize("size", LEAF_SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_large_bytes(kind, size):
    data = kind(array_values.numbers(size, "u1").tobytes())
    first, second, third = through_file([data, data, kind(data + b"x")])
    assert type(first) is kind and first == data and first is second
    assert third == data + b"x"
    assert_same_pickle([data, data])


@pytest.mark.parametrize("size", LEAF_SIZES)
def test_buffers(size):
    data = array_values.numbers(size, "u1").tobytes()
    for buffer, kind in (
        (pickle.PickleBuffer(data), bytes),
        (pickle.PickleBuffer(bytearray(data)), bytearray),
        (pickle.PickleBuffer(memoryview(bytearray(data)).toreadonly()), bytes),
        (pickle.PickleBuffer(array_values.writable(size, "u1")), bytearray),
    ):
        first, second = through_file([buffer, buffer])
        assert type(first) is kind and first == data and first is second
        assert_same_pickle([buffer, buffer])


def test_a_buffer_that_is_not_contiguous_is_refused():
    buffer = pickle.PickleBuffer(np.arange(100_000)[::2])
    with pytest.raises(pickle.PicklingError, match="non-contiguous"):
        file_bytes(buffer)
    assert_same_pickle(buffer)


def test_a_fortran_buffer_is_written_as_it_lies():
    array = np.asfortranarray(array_values.writable(20_000, "u2").reshape(100, 200))
    assert through_file(pickle.PickleBuffer(array)) == array.tobytes("F")


def test_a_large_text_leaves_no_cache_in_the_users_object():
    text = "é" * 100_000
    before = text.__sizeof__()
    file_bytes([text])
    assert text.__sizeof__() == before


def test_a_released_buffer_is_an_error():
    buffer = pickle.PickleBuffer(b"x")
    buffer.release()
    with pytest.raises(ValueError):
        file_bytes([buffer])
