"""Makes the files of this folder anew from npm: the runtime of the page, ONNX Runtime Web.

    python renew.py

Three things are changed in its script. It is no module, so that the page's policy can name it by
its sha256; it asks no address where it was loaded from, which a page from a disk has none of; and
it reserves 1 GiB for the network instead of 4, which iPhones refuse
(https://github.com/emscripten-core/emscripten/issues/19144).
"""

import gzip
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "1.30.0"
PACKAGE_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
WASM, SCRIPT = "ort-wasm-simd-threaded.wasm.gz", "ort.js"
WASM_SHA256 = "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"  # unpacked
SCRIPT_SHA256 = "d38c44cea2f6b156ef783e600bd8885b0caf12184e15ddb146c7c4c235f30be7"

_HERE = Path(__file__).parent
_EXPORTS = (
    "export{rs as InferenceSession,Cr as TRACE,Pe as TRACE_EVENT_BEGIN,Ue as TRACE_EVENT_END,"
    "_e as TRACE_FUNC_BEGIN,De as TRACE_FUNC_END,de as Tensor,iu as default,Y as env,"
    "Je as registerBackend};\n//# sourceMappingURL=ort.wasm.bundle.min.mjs.map"
)
# What is replaced, how often it is there, and what it becomes.
_CHANGES = (
    (_EXPORTS, 1, "return{InferenceSession:rs,Tensor:de,env:Y}})();"),
    ("import.meta.url", 11, '"blob:"'),
    ("{initial:256,maximum:65536,shared:!0}", 1, "{initial:256,maximum:16384,shared:!0}"),
)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", f"onnxruntime-web@{VERSION}"], cwd=folder, check=True)
        (package,) = Path(folder).glob("*.tgz")
        _require(package.read_bytes(), PACKAGE_SHA256, package.name)
        with tarfile.open(package) as archive:
            wasm = _read(archive, WASM.removesuffix(".gz"))
            script = _change(_read(archive, "ort.wasm.bundle.min.mjs").decode()).encode()
    _require(wasm, WASM_SHA256, WASM)
    _require(script, SCRIPT_SHA256, SCRIPT)
    (_HERE / WASM).write_bytes(gzip.compress(wasm, 9, mtime=0))
    (_HERE / SCRIPT).write_bytes(script)


def _require(data: bytes, sha256: str, name: str) -> None:
    received = hashlib.sha256(data).hexdigest()
    if received != sha256:
        sys.exit(f"Expected {name} to have the sha256 {sha256}. Received: {received}")


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(f"package/dist/{name}")
    if file is None:
        sys.exit(f"Expected {name} in the package. Received none.")
    return file.read()


def _change(script: str) -> str:
    for old, count, new in _CHANGES:
        if script.count(old) != count:
            sys.exit(f"Expected {old} {count} times. Received: {script.count(old)}")
        script = script.replace(old, new)
    before, name, after = script.partition("var ")
    return f"{before}const ort=(()=>{{{name}{after}\n"


if __name__ == "__main__":
    main()
