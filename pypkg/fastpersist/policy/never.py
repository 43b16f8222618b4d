"""What is never approved, not even by ``trusted=``: whatever executes text, imports by name, opens
files, sockets or processes, loads another pickle, makes code, or reaches attributes by name.

The lists are to keep somebody from pasting a name that a hostile file has brought; that a name is
not in them says nothing for it.
"""

from __future__ import annotations

_CODE = "executes text, or makes code"
_IMPORT = "imports by name"
_FILES = "opens or changes files"
_PROCESS = "starts processes, or ends this one"
_NETWORK = "opens connections"
_PICKLE = "loads another pickle"
_REACH = "reaches attributes by name, or calls what it is given"
_MEMORY = "reaches memory, or the interpreter itself"

_MODULES = {
    _CODE: (
        "_frozen_importlib _frozen_importlib_external _pyrepl ast bdb cProfile code codeop "
        "compileall dis distutils doctest ensurepip idlelib lib2to3 pdb profile py_compile "
        "pydoc pyclbr setuptools timeit trace unittest venv zipapp numpy.f2py numpy.distutils "
        "numpy.testing scipy._lib._ccallback IPython jinja2 mako numexpr sympy numba cffi "
        "Cython pythran test _testcapi _testinternalcapi torch._dynamo torch._inductor torch.fx "
        "torch.jit torch.utils.bottleneck torch.utils.collect_env torch.utils._config_module "
        "torch.testing"
    ),
    _IMPORT: (
        "_imp imp importlib modulefinder pkgutil runpy site sitecustomize usercustomize "
        "zipimport pip pkg_resources"
    ),
    _FILES: (
        "_io bz2 configparser csv dbm dotenv fileinput filecmp glob gzip io linecache logging "
        "lzma mailbox mailcap mmap netrc plistlib shelve shutil sqlite3 _sqlite3 tarfile "
        "tempfile tokenize wave zipfile zipfile._path h5py tables openpyxl fsspec pyarrow.fs "
        "torch.hub torch.utils.data.datapipes pandas.io numpy.lib._npyio_impl numpy.lib.npyio "
        "numpy.lib.format numpy.lib._format_impl scipy.io sklearn.datasets"
    ),
    _PROCESS: (
        "_aix_support _osx_support _posixshmem _posixsubprocess _winapi asyncio commands "
        "concurrent multiprocessing nt os os2 pipes popen2 posix posixpath ntpath pty resource "
        "signal _signal subprocess _thread threading sched atexit webbrowser "
        "joblib._parallel_backends joblib.parallel joblib.pool joblib.externals mlflow "
        "torch.distributed torch.multiprocessing"
    ),
    _NETWORK: (
        "aiohttp ftplib http httplib httpx imaplib nntplib poplib requests smtpd smtplib "
        "_socket socket socketserver ssl _ssl telnetlib urllib urllib2 urllib3 wsgiref xmlrpc "
        "boto3 paramiko tornado twisted"
    ),
    _PICKLE: (
        "_pickle cPickle cloudpickle dill jsonpickle marshal pickle pickletools ruamel.yaml "
        "yaml joblib.numpy_pickle_utils joblib.numpy_pickle_compat joblib.memory "
        "pandas.compat.pickle_compat torch.serialization torch.package skops fastpersist"
    ),
    _REACH: (
        "contextvars contextlib functools _functools inspect itertools operator _operator "
        "typing types weakref _weakref dataclasses string unittest.mock"
    ),
    _MEMORY: (
        "_ctypes ctypes _interpreters _interpchannels _interpqueues _tkinter tkinter "
        "_xxsubinterpreters curses faulthandler gc numpy.ctypeslib sys _sysconfig sysconfig "
        "tracemalloc winreg"
    ),
}

# Of modules of which other names are harmless.
_NAMES = {
    _CODE: (
        "builtins:compile builtins:eval builtins:exec builtins:execfile builtins:breakpoint "
        "pandas:eval pandas.core.computation.eval:eval pandas.core.frame:DataFrame.eval "
        "pandas.core.frame:DataFrame.query pandas:DataFrame.eval pandas:DataFrame.query "
        "numpy:vectorize numpy:frompyfunc numpy:piecewise numpy:apply_along_axis "
        "numpy:apply_over_axes numpy:fromfunction collections:namedtuple torch:compile "
        "scipy.stats._distn_infrastructure:rv_generic "
        "scipy.stats._distn_infrastructure:rv_continuous "
        "scipy.stats._distn_infrastructure:rv_discrete"
    ),
    _IMPORT: (
        "builtins:__import__ builtins:reload builtins:__build_class__ builtins:__loader__ "
        "builtins:__spec__ numpy:__builtins__ copyreg:__builtins__"
    ),
    _FILES: (
        "builtins:open builtins:file codecs:open codecs:EncodedFile _codecs:lookup "
        "codecs:lookup _pyio:open argparse:FileType numpy:load numpy:save numpy:savez "
        "numpy:savez_compressed numpy:loadtxt numpy:savetxt numpy:genfromtxt numpy:fromfile "
        "numpy:fromregex numpy:memmap numpy._core.memmap:memmap numpy.core.memmap:memmap "
        "numpy:DataSource numpy.lib:DataSource numpy.core.records:fromfile "
        "numpy._core.records:fromfile numpy.rec:fromfile pandas:read_clipboard pandas:read_csv "
        "pandas:read_excel pandas:read_feather pandas:read_fwf pandas:read_gbq pandas:read_hdf "
        "pandas:read_html pandas:read_json pandas:read_orc pandas:read_parquet pandas:read_sas "
        "pandas:read_spss pandas:read_sql pandas:read_sql_query pandas:read_sql_table "
        "pandas:read_stata pandas:read_table pandas:read_xml pandas:to_pickle pandas:HDFStore "
        "pandas:ExcelFile pandas:ExcelWriter pathlib:Path.open pathlib:Path.write_text "
        "pathlib:Path.write_bytes pathlib:Path.read_bytes pathlib:Path.read_text "
        "pathlib:Path.unlink pathlib:Path.rename pathlib:PosixPath.open "
        "pathlib:PosixPath.write_bytes pathlib:PosixPath.write_text torch:from_file "
        "torch:UntypedStorage.from_file dateutil.tz.tz:tzfile zoneinfo:ZoneInfo.from_file "
        "xml.etree.ElementTree:parse tokenize:open sklearn.utils._mocking:MockDataFrame"
    ),
    _PROCESS: (
        "builtins:exit builtins:quit builtins:input builtins:raw_input platform:popen "
        "platform:libc_ver platform:_syscmd_ver platform:_syscmd_file "
        "platform:_syscmd_processor uuid:_popen uuid:_get_command_stdout uuid:getnode "
        "uuid:_ifconfig_getter uuid:_ip_getter uuid:_arp_getter uuid:_netstat_getter "
        "uuid:_lanscan_getter joblib:Parallel joblib:delayed joblib._multiprocessing_helpers:os"
    ),
    _PICKLE: (
        "joblib:load joblib:_pickle_load joblib:dump joblib:Memory joblib.numpy_pickle:load "
        "joblib.numpy_pickle:_unpickle joblib.numpy_pickle:load_temporary_memmap "
        "joblib.numpy_pickle:NumpyUnpickler joblib.numpy_pickle:NumpyArrayWrapper.read "
        "joblib.numpy_pickle:NDArrayWrapper joblib.numpy_pickle:ZNDArrayWrapper "
        "pandas:read_pickle numpy._core.multiarray:_load_from_filelike "
        "numpy._core._methods:_loads numpy.core._methods:_loads torch:load torch:save "
        "torch.storage:_load_from_bytes torch.jit:load xgboost.core:Booster.load_model "
        "lightgbm.basic:Booster.load_model catboost:load_model copyreg:add_extension "
        "copyreg:remove_extension copyreg:pickle copyreg:constructor copyreg:dispatch_table "
        "copyreg:_extension_registry copyreg:_inverted_registry"
    ),
    _REACH: (
        "builtins:getattr builtins:setattr builtins:delattr builtins:hasattr builtins:vars "
        "builtins:globals builtins:locals builtins:dir builtins:map builtins:filter "
        "builtins:apply builtins:reduce builtins:super builtins:classmethod "
        "builtins:staticmethod builtins:property builtins:property.__get__ "
        "builtins:property.fget builtins:object.__getattribute__ builtins:type.__getattribute__ "
        "builtins:object.__setattr__ builtins:type.__setattr__ builtins:object.__reduce_ex__ "
        "builtins:type.__call__ builtins:type.__subclasses__ builtins:object.__subclasses__ "
        "builtins:dict.get builtins:dict.__getitem__ builtins:sorted builtins:min builtins:max "
        "builtins:iter builtins:format builtins:str.format builtins:str.format_map "
        "builtins:__builtins__ builtins:__dict__ builtins:memoryview.cast difflib:unified_diff "
        "difflib:context_diff sklearn.utils._bunch:Bunch.__getattr__ "
        "sklearn.utils.metaestimators:available_if"
    ),
    _MEMORY: (
        "builtins:memoryview numpy.lib.stride_tricks:as_strided "
        "numpy.lib._stride_tricks_impl:as_strided numpy.lib._stride_tricks_impl:DummyArray "
        "numpy:ctypeslib numpy.core._internal:sys numpy._core._internal:sys numpy:prod.a "
        "numpy:ndarray.tofile numpy:ndarray.dump numpy:ndarray.dumps numpy:ndarray.setflags "
        "numpy:ndarray.view numpy:ndarray.__setstate__"
    ),
}

MODULES = {module: why for why, names in _MODULES.items() for module in names.split()}
"""Whole modules, with all that is in and below them, and why."""

NAMES: dict[tuple[str, str], str] = {}
"""Pairs of module and qualified name, and why; also of what is reached through such a name."""

# Of the modules above, classes of plain values, which may be trusted by name.
_EXCEPT = frozenset(
    [("_io", "BytesIO"), ("_io", "StringIO"), ("io", "BytesIO"), ("io", "StringIO")]
    + [("types", name) for name in ("SimpleNamespace", "NoneType", "EllipsisType")]
)

for _why, _labels in _NAMES.items():
    for _label in _labels.split():
        _module, _, _name = _label.partition(":")
        NAMES[_module, _name] = _why


def is_never(module: str, name: str) -> str | None:
    """Why the name is never approved; None where it may be.

    ``module`` and ``name`` are as a load looks them up, after Python 2 names are mapped. A dotted
    name that goes through a module (``sklearn._config``, ``os.getpid``) is known by the module that
    it would reach.
    """
    if module == "__builtin__":
        module = "builtins"
    if (module, name) in _EXCEPT:
        return None
    package = module
    while package:
        if package in MODULES:
            return MODULES[package]
        package = package.rpartition(".")[0]
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        why = NAMES.get((module, ".".join(parts[:i])))
        if why is not None:
            return why
    for part in parts:
        if part in _REACHING:
            return _REACH
    # os.getpid of another module, core._internal.sys.modules of numpy.
    for part in parts[:-1]:
        if part in MODULES:
            return MODULES[part]
    return None


_REACHING = frozenset(
    "__builtins__ __globals__ __dict__ __class__ __subclasses__ __getattribute__ __getattr__ "
    "__setattr__ __delattr__ __get__ __set__ __call__ __code__ __closure__ __func__ __self__ "
    "__loader__ __spec__ __import__ __mro__ __bases__ __init_subclass__ __reduce__ __reduce_ex__ "
    "__setstate__ f_globals gi_frame func_globals".split()
)
