"""The pages under service/docs as tests read them, and the languages that one of them speaks."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.programs import PATH
from tests.support.prose import Prose

FOLDER: Final = Path(__file__).parents[2] / "service" / "docs" / "pages"
PAGES: Final = {file.stem: Prose.read(file) for file in sorted(FOLDER.glob("*.md"))}
SIGNATURES: Final = PAGES["signatures"]
_JUDGES: Final = Path(__file__).parent / "languages"
#: The crates of the Rust program, pinned.
CRATES: Final = Path(__file__).parents[2] / "deploy" / "lock" / "rust"


def homes(folder: Path) -> dict[str, str]:
    """Has what builds and runs programs keep its things in the folder, and ask nobody anything."""
    return {
        "CARGO_TARGET_DIR": "target",
        "DENO_DIR": str(folder / "deno"),
        "DENO_NO_UPDATE_CHECK": "1",
        "DOTNET_CLI_HOME": str(folder),
        "GO111MODULE": "off",
    }


@dataclass(frozen=True)
class Language:
    """How the programs of the page are run."""

    name: str
    #: Blocks of the page, and files of ours that ask them about deliveries.
    blocks: tuple[str, ...]
    ours: tuple[str, ...]
    #: What has to be on PATH.
    programs: tuple[str, ...]
    #: Judges the deliveries on its standard input.
    judge: tuple[str, ...]
    build: tuple[str, ...] = ()
    #: The block that is a receiver on port 9000, how it is built and run.
    receiver: str = ""
    compile: tuple[str, ...] = ()
    serve: tuple[str, ...] = ()

    @property
    def missing(self) -> str | None:
        """Why it cannot be run here."""
        lacking = [each for each in self.programs if shutil.which(each, path=PATH) is None]
        return f"not on PATH: {', '.join(lacking)}" if lacking else None

    def write(self, folder: Path) -> None:
        """Put everything into a folder."""
        for name in self.blocks:
            file = folder / ("src" if name.endswith(".rs") else ".") / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(SIGNATURES.block(name), "utf-8")
        for name in self.ours:
            shutil.copy(_JUDGES / name, folder / ("src" if name.endswith(".rs") else "."))
        if "Cargo.toml" in self.blocks:
            shutil.copy(CRATES / "Cargo.lock", folder)


_DOTNET: Final = Language(
    "C#",
    ("Verify.cs",),
    ("Judge.cs", "Judge.csproj"),
    ("dotnet",),
    ("dotnet", "run", "--no-build"),
    build=("dotnet", "build", "--nologo", "--verbosity", "quiet"),
)
#: The same file under what Debian has; two methods of a newer library are lent to it.
_MONO: Final = Language(
    "C#",
    ("Verify.cs",),
    ("Judge.cs", "Mono.cs"),
    ("mcs", "mono"),
    ("mono", "judge.exe"),
    build=(
        "mcs",
        "-langversion:latest",
        "-warnaserror",
        "-out:judge.exe",
        "Verify.cs",
        "Judge.cs",
        "Mono.cs",
    ),
)

LANGUAGES: Final = (
    Language(
        "Python",
        ("verify.py",),
        ("judge.py",),
        ("python3",),
        ("python3", "judge.py", "verify"),
        receiver="receiver.py",
        serve=("python3", "receiver.py"),
    ),
    Language(
        "JavaScript",
        ("verify.mjs",),
        ("judge.mjs",),
        ("node",),
        ("node", "judge.mjs", "./verify.mjs"),
        receiver="receiver.mjs",
        serve=("node", "receiver.mjs"),
    ),
    Language(
        "TypeScript",
        ("verify.ts",),
        ("judge.ts",),
        ("deno",),
        ("deno", "run", "--check", "judge.ts"),
        receiver="receiver.ts",
        serve=("deno", "run", "--check", "--allow-env", "--allow-net", "receiver.ts"),
    ),
    Language(
        "Go",
        ("verify.go", "verify_key.go"),
        ("judge.go",),
        ("go",),
        ("./judge",),
        build=("go", "build", "-o", "judge", "judge.go", "verify.go", "verify_key.go"),
        receiver="receiver.go",
        compile=("go", "build", "-o", "receiver", "receiver.go", "verify.go"),
        serve=("./receiver",),
    ),
    Language(
        "Java",
        ("Verify.java",),
        ("Judge.java",),
        ("java", "javac"),
        ("java", "Judge"),
        build=("javac", "-Werror", "-Xlint:all", "Verify.java", "Judge.java"),
        receiver="Receiver.java",
        compile=("javac", "-Werror", "-Xlint:all", "Verify.java", "Receiver.java"),
        serve=("java", "Receiver"),
    ),
    _MONO if _DOTNET.missing and not _MONO.missing else _DOTNET,
    Language(
        "PHP",
        ("verify.php",),
        ("judge.php",),
        ("php",),
        ("php", "judge.php"),
        receiver="receiver.php",
        serve=("php", "-S", "127.0.0.1:9000", "receiver.php"),
    ),
    Language("Ruby", ("verify.rb",), ("judge.rb",), ("ruby",), ("ruby", "judge.rb")),
    Language(
        "Rust",
        ("Cargo.toml", "verify.rs"),
        ("main.rs",),
        ("cargo", "rustc"),
        ("target/debug/webhook",),
        build=("cargo", "build", "--quiet", "--locked", "--offline"),
    ),
)

#: Those whose page shows how to verify what a key signed.
KEYED: Final = (
    Language(
        "Python",
        ("verify_key.py",),
        ("judge.py",),
        ("python3",),
        ("python3", "judge.py", "verify_key"),
    ),
    Language(
        "JavaScript",
        ("verify_key.mjs",),
        ("judge.mjs",),
        ("node",),
        ("node", "judge.mjs", "./verify_key.mjs"),
    ),
    Language(
        "Go",
        ("verify.go", "verify_key.go"),
        ("judge.go",),
        ("go",),
        ("./judge", "key"),
        build=("go", "build", "-o", "judge", "judge.go", "verify.go", "verify_key.go"),
    ),
)
