"""What is approved of NumPy, from 1.26 on."""

from __future__ import annotations

from fastpersist.policy import functions, rules_numpy, rules_python, rules_small
from fastpersist.policy.rows import ARGUMENT, BUILD, CALL, NEW, Row, rows

# NumPy 2 calls numpy.core numpy._core, and keeps the old modules as ways to the new ones.
CORES = ("numpy.core", "numpy._core")


def _of_core(module: str, name: str, use: int, reason: str, **rules: object) -> tuple[Row, ...]:
    """A row for each of the two names of numpy.core."""
    return tuple(
        Row(
            f"{core}.{module}",
            name,
            use,
            reason,
            means=tuple((f"{other}.{module}", name) for other in CORES if other != core),
            **rules,  # type: ignore[arg-type]
        )
        for core in CORES
    )


_ARRAY = "an array; the rule holds class and dtype, the state is read by the load itself"
_RANDOM = "a random generator of a listed kind; numbers that its C code trusts are checked"
_UFUNC = "a ufunc of numbers: FunctionTransformer and TransformedTargetRegressor hold such"
_SCALAR = "a class of scalars, as dtypes of parameters are told; not called"
_DTYPE = "a class of dtypes, as parameters may tell one; not called"

_FUNCTION = "a function of arrays, as FeatureAgglomeration(pooling_func=) holds one"

# What they are by another name, which platforms and versions differ in.
_ALIASES = {
    "bool": "bool_",
    "bool_": "bool",
    "int_": "int64 int32 intp long",
    "uint": "uint64 uint32 uintp ulong",
    "intc": "int32",
    "uintc": "uint32",
    "intp": "int64 int32",
    "uintp": "uint64 uint32",
    "long": "int64 int32",
    "ulong": "uint64 uint32",
}

# A function with BUILD: a survey counts a state for what made the object; it is set by the rule of
# the object's class, which is the same.
ROWS: tuple[Row, ...] = (
    # dtype: the state goes to csrc/build/dtype_guard.c, never to numpy's own __setstate__.
    Row(
        "numpy",
        "dtype",
        CALL | BUILD,
        "a dtype by its text; its fields come by a state that the load checks and rebuilds",
        call=rules_numpy.dtype_call,
    ),
    Row(
        "numpy",
        "ndarray",
        CALL | BUILD,
        "an array over bytes of the file: plain-byte dtypes, inside of the bytes",
        call=rules_numpy.ndarray_call,
    ),
    *_of_core("multiarray", "_reconstruct", CALL, _ARRAY, call=rules_numpy.reconstruct_call),
    *_of_core(
        "multiarray",
        "scalar",
        CALL,
        "a scalar, from as many bytes as its dtype takes; none of objects",
        call=rules_numpy.scalar_call,
    ),
    *_of_core(
        "numeric",
        "_frombuffer",
        CALL,
        "an array over bytes of the file, which NumPy measures; none of objects",
        call=rules_numpy.frombuffer_call,
    ),
    # Scalars and dtypes as classes.
    *rows(
        "numpy",
        "generic number integer signedinteger unsignedinteger inexact floating complexfloating "
        "flexible character int8 int16 int32 int64 uint8 uint16 uint32 uint64 longlong "
        "ulonglong float16 float32 float64 longdouble complex64 complex128 "
        "clongdouble object_ str_ bytes_ void datetime64 timedelta64",
        ARGUMENT,
        _SCALAR,
    ),
    *(
        Row("numpy", name, ARGUMENT, _SCALAR, means=tuple(("numpy", o) for o in others.split()))
        for name, others in _ALIASES.items()
    ),
    *rows(
        "numpy.dtypes",
        "BoolDType Int8DType UInt8DType Int16DType UInt16DType Int32DType UInt32DType Int64DType "
        "UInt64DType LongLongDType ULongLongDType Float16DType Float32DType Float64DType "
        "LongDoubleDType Complex64DType Complex128DType CLongDoubleDType ObjectDType BytesDType "
        "StrDType VoidDType DateTime64DType TimeDelta64DType",
        ARGUMENT,
        _DTYPE,
    ),
    # Functions that objects hold. NumPy before 2.2 has ufuncs named by the module that makes them.
    *rows("numpy", functions.UFUNCS, ARGUMENT, _UFUNC, means="numpy._core._multiarray_umath"),
    *rows("numpy.core._multiarray_umath", functions.UFUNCS, ARGUMENT, _UFUNC, means="numpy"),
    *rows("numpy._core._multiarray_umath", functions.UFUNCS, ARGUMENT, _UFUNC, means="numpy"),
    *rows("numpy", functions.NUMPY, ARGUMENT, _FUNCTION),
    # Made by _reconstruct, whose rule says of which classes.
    Row("numpy", "matrix", BUILD, _ARRAY, state=rules_small.array_state),
    # Masked arrays.
    Row(
        "numpy.ma.core",
        "_mareconstruct",
        CALL | BUILD,
        "a masked array of NumPy's own classes, empty before its state",
        call=rules_numpy.masked_call,
        state=rules_numpy.masked_state,
    ),
    Row(
        "numpy.ma.core",
        "MaskedArray",
        BUILD,
        "its state sets bytes and mask: as many as the shape takes",
        state=rules_numpy.masked_state,
        means=(("numpy.ma", "MaskedArray"),),
    ),
    Row(
        "numpy.ma",
        "MaskedArray",
        BUILD,
        "as NumPy 2 names it",
        state=rules_numpy.masked_state,
        means=(("numpy.ma.core", "MaskedArray"),),
    ),
    Row(
        "numpy.ma.core",
        "MaskedConstant",
        CALL,
        "numpy.ma.masked, which is one object",
        call=rules_python.no_arguments,
    ),
    # Random generators.
    Row(
        "numpy.random._pickle",
        "__bit_generator_ctor",
        CALL | BUILD,
        _RANDOM,
        call=rules_numpy.bit_generator_ctor,
        state=rules_numpy.bit_generator_state,
    ),
    Row(
        "numpy.random._pickle",
        "__generator_ctor",
        CALL | BUILD,
        _RANDOM,
        call=rules_numpy.generator_ctor,
        state=rules_numpy.generator_state,
    ),
    Row(
        "numpy.random._pickle",
        "__randomstate_ctor",
        CALL | BUILD,
        _RANDOM,
        call=rules_numpy.randomstate_ctor,
        state=rules_numpy.random_state,
    ),
    *(
        Row(
            f"numpy.random.{module}",
            name,
            BUILD,
            _RANDOM,
            state=rules_numpy.bit_generator_state,
        )
        for module, name in (
            ("_mt19937", "MT19937"),
            ("_pcg64", "PCG64"),
            ("_pcg64", "PCG64DXSM"),
            ("_philox", "Philox"),
            ("_sfc64", "SFC64"),
        )
    ),
    Row(
        "numpy.random._generator",
        "Generator",
        BUILD,
        _RANDOM,
        state=rules_numpy.generator_state,
    ),
    Row(
        "numpy.random.mtrand",
        "RandomState",
        BUILD,
        _RANDOM,
        state=rules_numpy.random_state,
    ),
    Row(
        "numpy.random.bit_generator",
        "__pyx_unpickle_SeedSequence",
        CALL | BUILD,
        "the seed of a bit generator; its class only, as it would fill any other",
        call=rules_numpy.seed_sequence_call,
        state=rules_numpy.seed_sequence,
    ),
    Row(
        "numpy.random.bit_generator",
        "SeedSequence",
        BUILD,
        "the seed of a bit generator: lengths are checked",
        state=rules_numpy.seed_sequence,
    ),
    # Polynomials: arrays of coefficients, evaluated in Python.
    *(
        Row(
            f"numpy.polynomial.{module}",
            name,
            NEW | BUILD,
            "coefficients in an array, evaluated by NumPy",
            state=rules_small.model_state,
        )
        for module, name in (
            ("chebyshev", "Chebyshev"),
            ("hermite", "Hermite"),
            ("hermite_e", "HermiteE"),
            ("laguerre", "Laguerre"),
            ("legendre", "Legendre"),
            ("polynomial", "Polynomial"),
        )
    ),
    # Not here: numpy.vectorize (holds a function and calls it), StringDType's arrays (pointers),
    # numpy.memmap (opens files), recarray and record (their dtype is made of a class, which the
    # rule for dtypes does not take), chararray and poly1d (of old).
)
