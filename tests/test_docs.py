"""The pages tell the truth: their commands, links, names and numbers exist in the code."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from include import cli, settings
from include.docs.__main__ import PAGES as MADE
from include.flow_files import KINDS, read_flow_file
from include.guards import NEVER_PASSED, GuardLimits

ROOT = Path(__file__).resolve().parent.parent
PAGES = {path.name: path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]}
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
ALL = "\n".join(TEXTS.values())
README = TEXTS["README.md"]
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("include", "plugins", "dags", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__).resolve()
)
each_page = pytest.mark.parametrize("name", sorted(PAGES))


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@each_page
def test_links_lead_somewhere(name):
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (PAGES[name].parent / path).resolve() if path else PAGES[name]
        assert target.exists(), f"{name}: {link}"
        assert target.is_relative_to(ROOT), f"{name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{name}: {link}"


@each_page
def test_make_targets_exist(name):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    quoted = set(re.findall(r"(?:`|^)make ([a-z]+)", TEXTS[name], re.MULTILINE))
    assert quoted <= targets


def test_make_variables_exist():
    known = set(re.findall(r"\b([A-Z_]+)\b", (ROOT / "Makefile").read_text()))
    used = re.findall(r"(?:`|^)make [a-z]+((?: [A-Z_]+=\S+)+)", ALL, re.MULTILINE)
    assert {word.partition("=")[0] for words in used for word in words.split()} <= known


def test_ci_does_what_the_readme_says():
    ran = re.findall(r"^make (\w+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    sentence = README[README.index("`.ci/run`") :].partition(". ")[0]
    assert re.findall(r"`make (\w+)`", sentence) == ran


def test_commands_are_ones_that_can_be_given():
    parser = cli.parser()
    used = re.findall(r"(?:`|^ *|bin/)listkeeper ([^`\n#]*)", ALL, re.MULTILINE)
    assert len(used) > 10
    for words in used:
        command = words.split()[0]
        usage = next(iter(parser._subparsers._group_actions)).choices  # type: ignore[union-attr]
        assert command in usage, words
        for option in re.findall(r"--[\w-]+", words):
            assert option in usage[command].format_help(), words


def test_the_readme_names_every_command():
    listed = next(iter(cli.parser()._subparsers._group_actions)).choices  # type: ignore[union-attr]
    for command in listed:
        assert re.search(rf"\b{command}\b", README), command


def test_python_modules_can_be_run():
    for module in set(re.findall(r"python -m ([\w.]+)", ALL)):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_environment_variables_exist_in_the_code():
    conn_ids = {name.upper() for name in connections()} | {settings.LEDGER_CONNECTION.upper()}
    for name in set(re.findall(r"\b(LISTKEEPER_[A-Z_]+|AIRFLOW_CONN_[A-Z_]+)\b", ALL)):
        if name.startswith("AIRFLOW_CONN_"):
            assert name.removeprefix("AIRFLOW_CONN_") in conn_ids, name
        else:
            assert f'"{name}"' in CODE, name


def connections() -> dict[str, dict]:
    found = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())["airflow"]["connections"]
    return {connection["conn_id"]: connection for connection in found}


def test_connections_pools_and_kinds_exist():
    told = yaml.safe_load((ROOT / "airflow_settings.yaml").read_text())["airflow"]
    pools = {pool["pool_name"] for pool in told["pools"]}
    assert set(re.findall(r"`(\w+_default)`", ALL)) <= set(connections())
    sentence = next(line for line in README.splitlines() if "**Pools**" in line)
    assert set(re.findall(r"`(\w+)`", sentence)) == pools, (
        "name every pool of airflow_settings.yaml in README.md"
    )


def test_dag_ids_have_a_kind_and_a_flow_file():
    flows = {path.stem for path in settings.flows_folder().glob("*.yaml")}
    own = {"renewals", "weekend"}  # made by the examples of these pages
    for kind, flow in re.findall(r"\b((?:pull|load|archive|import|push)_\w+?)__(\w+|<\w+>)", ALL):
        assert kind in KINDS, kind
        assert flow in flows | own or flow.startswith("<"), flow


def test_the_flow_file_of_the_readme_is_good(tmp_path):
    (tmp_path / "renewals.yaml").write_text(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)[0])
    assert read_flow_file(tmp_path / "renewals.yaml").dag_id == "load_purecallerid__renewals"


@pytest.mark.parametrize("name", MADE)
def test_pages_made_from_the_code_are_current(name):
    assert TEXTS[name] == MADE[name](), "make docs"


def test_every_dag_file_of_a_kind_is_on_the_page():
    for path in (ROOT / "dags").glob("*.py"):
        if "broken_flow_dag(" in (code := path.read_text()):
            kind = re.search(r"`kind: (\w+)`", code)
            assert kind, f"{path.name}: the docstring must say which `kind: ...` it is for"
            assert f"## `{kind[1]}`" in TEXTS["flows.md"]


def section(name: str, head: str) -> str:
    """The text below a heading of a page, up to the next heading."""
    return re.split(r"^#+ .*$", TEXTS[name].partition(f"# {head}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def test_the_tests_of_the_promises_exist():
    named = set(re.findall(r"`(test_\w+)`", TEXTS["promises.md"]))
    assert len(named) > 40
    assert named <= set(re.findall(r"^(?:async )?def (test_\w+)\(", CODE, re.MULTILINE))


def test_every_guard_is_in_the_runbook():
    raised = set()
    for path in (
        "include/guards.py",
        "include/applied.py",
        "plugins/listkeeper/operators/delivery.py",
        "plugins/listkeeper/operators/platform_push.py",
        "plugins/listkeeper/operators/isales.py",
    ):
        raised |= set(re.findall(r'Refusal\(\s*"(\w+)"', (ROOT / path).read_text()))
    assert set(re.findall(r"^\| `(\w+)` \|", section("operations.md", "refused"), re.MULTILINE)) == raised
    for limit in re.findall(r"`guards\.(\w+)`", ALL):
        assert limit in GuardLimits.model_fields
    final = set(re.findall(r"^\| `(\w+)` \|.*\| no \|$", section("operations.md", "refused"), re.MULTILINE))
    assert final == NEVER_PASSED, "the last column says what a person may approve past"


def test_every_verdict_is_explained():
    verdicts = {
        "pulled",
        "delivered",
        "unchanged",
        "planned",
        "refused",
        "not approved",
        "uncertain",
        "failed",
    }
    operators = (ROOT / "plugins/listkeeper/operators/reconcile.py").read_text()
    assert all(f'"{verdict}"' in operators for verdict in verdicts - {"pulled"})
    heads = set(re.findall(r"^### ([a-z, ]+)$", TEXTS["operations.md"], re.MULTILINE))
    assert {word for head in heads for word in head.split(", ")} == verdicts
    rows = re.findall(r"^\| ([a-z, ]+) \|", README[README.index("## What a verdict means") :], re.MULTILINE)
    assert {word for row in rows for word in row.split(", ")} == verdicts | {"verdict"}


def test_the_table_of_the_readme_adds_up():
    rows = re.findall(r"^\w+ +((?:[\d,]+ +){6})", README, re.MULTILINE)
    assert len(rows) == 8
    for row in rows:
        came, *ended = (int(cell.replace(",", "")) for cell in row.split())
        assert came == sum(ended)


def test_astro_files_say_what_airflow_settings_says():
    compose = yaml.safe_load((ROOT / "docker-compose.override.yml").read_text())
    environment = compose["services"]["scheduler"]["environment"]
    for name, connection in connections().items():
        if not connection.get("conn_host", "").startswith("http"):
            continue  # a file, or a key
        variable = f"AIRFLOW_CONN_{name.upper()}"
        assert variable in environment, f"add {variable} to docker-compose.override.yml"
        told = json.loads(environment[variable])
        assert told["conn_type"] == connection["conn_type"]
        assert told["password"] == connection["conn_password"]
        assert told.get("extra") == connection.get("conn_extra")
    assert all(
        set(service) <= {"environment", "volumes"} or name == "sandbox"
        for name, service in compose["services"].items()
    )


def test_python_is_the_one_that_the_project_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in README
