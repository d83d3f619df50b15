"""The manifests and pipelines of docs/kubernetes.md and docs/ci.md: what files can show is so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from jwt_middleware import KeySet, Settings
from jwt_middleware.cli.__main__ import main
from jwt_middleware.settings.loading import variables
from jwt_middleware.testing import TokenFactory
from tests.world import World

DOCS = Path(__file__).parent.parent / "docs"
PREFIX = "JWT_MIDDLEWARE_"
NAMES = {f"{PREFIX}{name}{end}" for name, _ in variables(Settings) for end in ("", "_FILE")}


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def manifests() -> dict[str, Any]:
    found = [one for block in blocks("kubernetes.md", "yaml") for one in yaml.safe_load_all(block)]
    assert len({one["kind"] for one in found}) == len(found)
    return {one["kind"]: one for one in found}


@pytest.fixture
def cluster() -> dict[str, Any]:
    return manifests()


@pytest.fixture
def container(cluster: dict[str, Any]) -> dict[str, Any]:
    (found,) = cluster["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(found, dict)
    return found


# -- Kubernetes


@pytest.mark.parametrize("page", ["kubernetes.md", "ci.md", "fleet.md", "operating.md"])
def test_every_variable_that_is_named_is_a_setting(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    found = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]", text)) - {f"{PREFIX}SERVICE_HOST"}
    assert found
    assert found <= NAMES


def mounted(cluster: dict[str, Any], container: dict[str, Any], folder: Path) -> dict[str, str]:
    """Write what is mounted into a folder; return each path in the container with its file."""
    spec = cluster["Deployment"]["spec"]["template"]["spec"]
    volumes = {one["name"]: one for one in spec["volumes"]}
    # `kubectl create secret` names what the Secret has.
    (command,) = [one for one in blocks("kubernetes.md", "sh") if "create secret" in one]
    words = shlex.split(command.partition("kubectl")[2])
    secret = {one.partition("=")[2] for one in words if one.startswith("--from-file=")}
    secret |= {one.split("=")[1] for one in words if one.startswith("--from-literal=")}
    assert words[words.index("generic") + 1] == volumes["secrets"]["secret"]["secretName"]
    assert cluster["ConfigMap"]["metadata"]["name"] == volumes["config"]["configMap"]["name"]
    files: dict[str, str] = {}
    for mount in container["volumeMounts"]:
        kind = "config" if "configMap" in volumes[mount["name"]] else "secret"
        for name in cluster["ConfigMap"]["data"] if kind == "config" else secret:
            (folder / name).write_text(cluster["ConfigMap"]["data"].get(name, ""), "utf-8")
            files[f"{mount['mountPath']}/{name}"] = str(folder / name)
    return files


@pytest.fixture
def settings(
    cluster: dict[str, Any],
    container: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    """The settings as the container loads them, with the mounts in another folder."""
    files = mounted(cluster, container, tmp_path)
    KeySet.generate().save(tmp_path / "keys.json")
    (tmp_path / "store").write_text(f"sqlite:///{tmp_path}/grants.db", "utf-8")
    for path in tmp_path.glob("*.toml"):
        text = path.read_text("utf-8")
        for inside, outside in files.items():
            text = text.replace(f'"{inside}"', f'"{outside}"')
        path.write_text(text, "utf-8")
    for one in container["env"]:
        monkeypatch.setenv(one["name"], files[one["value"]])
    (code,) = [one for one in blocks("kubernetes.md", "python") if "from_layers" in one]
    for inside, outside in files.items():
        code = code.replace(f'"{inside}"', f'"{outside}"')
    module = ModuleType("page")
    exec(code, module.__dict__)
    found = module.settings()
    assert isinstance(found, Settings)
    return found


def test_the_container_loads_its_settings(settings: Settings) -> None:
    assert settings.issuer == "https://login.example.com"
    assert settings.refresh is not None
    assert settings.refresh.access_lifetime == 300
    assert settings.keys.signer is not None


def test_probes_ask_paths_that_answer(container: dict[str, Any], settings: Settings) -> None:
    world = World(settings)
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in
             ("startup", "readiness", "liveness")}  # fmt: skip
    assert paths["startup"] == paths["readiness"] == settings.ready_path
    assert world.get(paths["readiness"]).status == 200
    assert not world.get(paths["readiness"]).reached
    assert world.get(paths["liveness"]).reached  # the application's own, without a token
    (port,) = container["ports"]
    for name in paths:
        assert container[f"{name}Probe"]["httpGet"]["port"] == port["name"]
    assert str(port["containerPort"]) in container["command"]
    settings.close()


def test_the_manifests_fit_together(cluster: dict[str, Any], container: dict[str, Any]) -> None:
    labels = cluster["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert cluster["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert cluster["Service"]["spec"]["selector"] == labels
    assert cluster["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    policy = cluster["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    (port,) = container["ports"]
    assert policy["ingress"][0]["ports"] == [{"protocol": "TCP", "port": port["containerPort"]}]
    assert cluster["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert (
        cluster["PodDisruptionBudget"]["spec"]["minAvailable"]
        < cluster["Deployment"]["spec"]["replicas"]
    )
    grace = cluster["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert int(container["lifecycle"]["preStop"]["exec"]["command"][1]) < grace


def test_the_answer_of_the_page_is_one_that_is_sent() -> None:
    (shown,) = blocks("kubernetes.md", "json")
    body = World(TokenFactory().settings(ready_path="/ready")).get("/ready").json
    assert set(yaml.safe_load(shown)) == set(body)
    _, _, below = (DOCS / "kubernetes.md").read_text("utf-8").partition("| Part |")
    parts = re.findall(r"^\| `(\w+)` \|", below, re.MULTILINE)
    assert parts == ["keys", "trusted_issuers", "store", "feed"]


def test_service_links_are_ignored(tmp_path: Path) -> None:
    text = (DOCS / "kubernetes.md").read_text("utf-8")
    assert f"`{PREFIX}SERVICE_HOST`" in text
    KeySet.generate().save(tmp_path / "keys.json")
    given = {"ISSUER": "https://a.example", "AUDIENCE": "a", "KEYS": str(tmp_path / "keys.json")}
    given["SERVICE_HOST"] = "10.0.0.1"
    Settings.from_env({PREFIX + name: value for name, value in given.items()})


# -- Pipelines


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of docs/fleet.md."""
    monkeypatch.chdir(tmp_path)
    module = ModuleType("page")
    exec(blocks("fleet.md", "python")[0], module.__dict__)
    return tmp_path


def commands() -> Iterator[str]:
    """The commands that the page shows, without what is for other machines."""
    for block in blocks("ci.md", "sh"):
        for line in block.replace("\\\n", "").splitlines():
            if line.startswith("jwt-middleware") and "--against" not in line:
                yield line
    github, gitlab = (yaml.safe_load(one) for one in blocks("ci.md", "yaml"))
    job = github["jobs"]["check"]
    for service in job["strategy"]["matrix"]["service"]:
        yield job["steps"][-1]["run"].replace("${{ matrix.service }}", service)
    for service in gitlab["check"]["parallel"]["matrix"][0]["SERVICE"]:
        yield gitlab["check"]["script"][-1].replace("$SERVICE", service)


@pytest.mark.parametrize("command", [*dict.fromkeys(commands())])
def test_pipelines_run_on_the_fleets_files(
    command: str, fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *arguments = shlex.split(command)
    assert program == "jwt-middleware"
    assert main(arguments) == 0
    assert "nothing to say" in capsys.readouterr().out


def test_a_change_is_compared_by_layers(
    fleet: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = [one for one in blocks("ci.md", "sh") if "--against" in one]
    _, line = block.replace("\\\n", "").splitlines()
    before = tmp_path_factory.mktemp("before")
    KeySet.generate().save(before / "keys.json")
    for name in ("config/base.toml", "login/service.toml"):
        path = fleet / name
        text = path.read_text("utf-8").replace("/etc/jwt-secrets", str(before))
        text = text.replace(
            "access_lifetime", f'store = "sqlite:///{before}/g.db"\naccess_lifetime'
        )
        path.write_text(text, "utf-8")
        (before / name).parent.mkdir()
        (before / name).write_text(text, "utf-8")
    _, *arguments = shlex.split(line.replace("../before", str(before)))
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert re.search(r"^ok +refresh tokens +all", out, re.MULTILINE), out
