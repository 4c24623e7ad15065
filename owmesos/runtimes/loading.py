"""Decodes, unpacks and loads the user's code from `/init`, apart from the packages of this runtime.

The formats are those of OpenWhisk's own python runtime (openwhisk-runtime-python, bin/compile and lib/launcher.py;
openwhisk-runtime-go, extractor.go): source text, the same in base64, and zip and tar.gz archives.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

Main = Callable[[Any], Any]
_MODULE = "main__"  # as in OpenWhisk's own container: no `if __name__ == "__main__"` runs
_ENTRIES = ("exec", "__main__.py", f"{_MODULE}.py")  # the first that an archive has
_ACTIVATE = ("bin/activate_this.py", "Scripts/activate_this.py")


class Unusable(Exception):
    """The request is answered with this text and `status`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def failed(reason: str) -> Unusable:
    """The error to raise if the code cannot be loaded."""
    return Unusable(502, f"Initialization has failed due to: {reason}")


def decoded(code: str) -> bytes:
    """Decode base64. Raises Unusable."""
    import base64

    try:
        return base64.b64decode(code.replace("\r", "").replace("\n", ""), validate=True)
    except ValueError as error:
        raise Unusable(400, f"cannot decode the request: the code is not valid base64: {error}") from None


def unpack(data: bytes, folder: str) -> None:
    """The files of an archive, else `data` as the source of the action. Raises Unusable."""
    if data.startswith(b"PK"):
        _unzip(data, folder)
    elif data.startswith(b"\x1f\x8b"):
        _untar(data, folder)
    else:
        with open(os.path.join(folder, _ENTRIES[-1]), "wb") as file:
            file.write(data)


def load_text(code: str, name: str) -> Main:
    """The function `name` of the source text. Raises Unusable, and what the code raises."""
    return _load(code, name, _ENTRIES[-1])


def load_folder(folder: str, name: str) -> Main:
    """The function `name` of the code in `folder`, the new working directory.

    Raises Unusable, and what the code raises.
    """
    os.chdir(folder)
    sys.path.insert(0, folder)
    entry = next((entry for entry in _ENTRIES if os.path.isfile(entry)), None)
    if entry is None:
        raise failed("Zip file does not include __main__.py.")
    if os.path.isdir("virtualenv"):
        _activate(os.path.join(folder, "virtualenv"))
    file = os.path.join(folder, _ENTRIES[-1])
    os.replace(entry, file)
    with open(file, "rb") as source:
        code = source.read()
    try:
        return _load(code, name, file)
    except ModuleNotFoundError as error:
        if os.path.isfile("requirements.txt") and not os.path.isdir("virtualenv"):
            reason = f"{error}. This runtime does not install requirements.txt: add a virtualenv to the archive."
            raise ModuleNotFoundError(reason, name=error.name, path=error.path) from error
        raise


def leave_own_packages() -> None:
    """The user's code finds the standard library and PYTHONPATH, not what is installed for this runtime."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    installed = {
        path for path in sys.path if os.path.basename(path) in ("site-packages", "dist-packages") and path not in given
    }
    hidden = installed | {path for path in sys.path if os.path.abspath(path) == os.path.dirname(package)}
    sys.path[:] = [path for path in sys.path if path not in hidden]
    sys.meta_path[:] = [finder for finder in sys.meta_path if _is_pythons(finder)]  # not that of an editable install
    own = tuple(os.path.join(path, "") for path in (package, *installed))
    for name, module in list(sys.modules.items()):
        if name != "__main__" and (getattr(module, "__file__", None) or "").startswith(own):
            del sys.modules[name]
    sys.argv[:] = [_ENTRIES[-1]]


def _is_pythons(finder: object) -> bool:
    return str(getattr(finder, "__module__", "")).startswith("_frozen_importlib")


def _unzip(data: bytes, folder: str) -> None:
    """With the modes and the symbolic links that zipfile leaves out. Raises Unusable."""
    import io
    import zipfile

    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        links = []
        for info in archive.infolist():
            path = archive.extract(info, folder)
            mode = info.external_attr >> 16
            if stat.S_ISLNK(mode):
                links.append((path, archive.read(info)))
            elif mode and not info.is_dir():
                os.chmod(path, mode & 0o777 | 0o600)
    except (zipfile.BadZipFile, EOFError) as error:
        raise failed(f"the code is not a valid zip archive: {error}") from None
    for path, target in links:
        os.unlink(path)
        os.symlink(target, path)


def _untar(data: bytes, folder: str) -> None:
    """Raises Unusable."""
    import io
    import tarfile
    import zlib

    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            if hasattr(tarfile, "tar_filter"):
                archive.extractall(folder, filter="tar")
            else:
                archive.extractall(folder)  # a Python before 3.10.12 or 3.11.4
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise failed(f"the code is not a valid tar.gz archive: {error}") from None


def _activate(virtualenv: str) -> None:
    """Raises Unusable, and what the script raises."""
    files = (os.path.join(virtualenv, name) for name in _ACTIVATE)
    file = next((file for file in files if os.path.isfile(file)), None)
    if file is None:
        raise failed(
            "Invalid virtualenv. Zip file does not include 'activate_this.py'. "
            "`python -m venv` does not write one, `python -m virtualenv` does."
        )
    with open(file, "rb") as source:
        script = compile(source.read(), file, "exec")
    exec(script, {"__file__": file, "__name__": "activate_this"})


class _Source:
    """A loader from which a traceback takes the lines of code that is in no file."""

    def __init__(self, code: str) -> None:
        self._code = code

    def get_source(self, _name: str) -> str:
        return self._code


def _load(code: str | bytes, name: str, file: str) -> Main:
    """Run the code in a module of its own, and find its entry point."""
    module = ModuleType(_MODULE)
    module.__file__ = file
    if isinstance(code, str):
        module.__loader__ = _Source(code)  # type: ignore[assignment]
    sys.modules[_MODULE] = sys.modules["__main__"] = module
    exec(compile(code, file, "exec"), module.__dict__)
    main = getattr(module, name, None)
    if not callable(main):
        raise failed(f"the action does not define a function {name!r}.")
    return main  # type: ignore[no-any-return]
