"""What is in ``deploy/``, read as what it is."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
KUBERNETES: Final = DEPLOY / "kubernetes"
#: The locks are another matter.
FILES: Final = sorted(
    path for path in DEPLOY.rglob("*") if path.is_file() and "lock" not in path.parts
)
YAMLS: Final = [path for path in FILES if path.suffix in {".yaml", ".yml"}]

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    """The documents of a YAML file."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def document(path: Path) -> Document:
    """The one document of a YAML file."""
    (only,) = documents(path)
    return only


def name_of(path: Path) -> str:
    """A file's path, as tests show it."""
    return str(path.relative_to(DEPLOY))


def manifests() -> list[Document]:
    """Every object for Kubernetes; what tells kustomize what to do is none."""
    files = [path for path in YAMLS if path.is_relative_to(KUBERNETES)]
    return [each for path in files if path.name != "kustomization.yaml" for each in documents(path)]


def pods() -> Iterator[tuple[str, Document, Document]]:
    """The name, the labels and the specification of everything that runs as pods."""
    for each in manifests():
        template = each.get("spec", {}).get("template")
        if template is not None:
            yield each["metadata"]["name"], template["metadata"]["labels"], template["spec"]


def dotenv(path: Path) -> dict[str, str]:
    """The variables of a file of ``NAME=VALUE`` lines."""
    lines = (line for line in path.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def literals(kustomization: Path, generator: str) -> dict[str, str]:
    """The variables that a kustomization makes ConfigMaps (or Secrets) named ringback of."""
    made = document(kustomization).get(generator, [])
    lines = [line for each in made if each["name"] == "ringback" for line in each["literals"]]
    return dict(line.split("=", 1) for line in lines)


def filled(text: str) -> str:
    """A text of a compose file with its ``${NAME:-default}`` filled in; what is asked for is x."""
    return re.sub(
        r"\$\{\w+(?::([-?])([^}]*))?\}", lambda m: m[2] if m[1] == "-" else "eHh4eHh4", text
    )
