"""Tops up .venv to what the lock files say, and does nothing when it already is.

Called by every target of the Makefile: `setup_venv.py run` for what a user needs, `setup_venv.py dev` for the tools
too. It never removes an environment. Kept in words that an old Python can parse, so that it can say it is too old.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = {"run": ["run.txt", "build.txt"], "dev": ["dev.txt"]}


def main(kind):
    if sys.version_info < OLDEST:
        fail(
            f"Podium needs Python {OLDEST[0]}.{OLDEST[1]} or later; {sys.executable} is {sys.version.split()[0]}. "
            "Name another one: make PYTHON=python3.12 …"
        )
    stamp = stamp_of(kind)
    if stamp.exists() and PYTHON.exists():
        return
    VENV.mkdir(exist_ok=True)
    with (VENV / ".setup-lock").open("w") as lock:
        wait_for(lock)
        if stamp.exists() and PYTHON.exists():
            return
        make_environment()
        for name in LOCKS[kind]:
            say(f"installing what requirements/{name} pins")
            # The lock files are complete. Without --no-deps an old pip looks for `coverage[toml]` by itself, and finds
            # a newer one than the pinned as soon as there is one.
            pip("--require-hashes", "--no-deps", "--only-binary", ":all:", "-r", str(ROOT / "requirements" / name))
        say("installing podium itself (editable)")
        pip("--no-deps", "--no-build-isolation", "-e", str(ROOT))
        # The development tools contain all that a run needs.
        kinds = ["run", "dev"] if kind == "dev" else ["run"]
        for each in kinds:
            for old in VENV.glob(f".stamp-{each}-*"):
                old.unlink()
            stamp_of(each).touch()


def stamp_of(kind):
    """The file whose presence says that .venv holds what the lock files and the package's metadata ask for."""
    import tomllib

    digest = hashlib.sha256(sys.version.encode())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for table in ("build-system", "project"):
        digest.update(json.dumps(project[table], sort_keys=True).encode())
    for name in LOCKS[kind]:
        digest.update((ROOT / "requirements" / name).read_bytes())
    return VENV / f".stamp-{kind}-{digest.hexdigest()[:16]}"


def make_environment():
    if not PYTHON.exists():
        say(f"making .venv with Python {sys.version.split()[0]}")
        if subprocess.run([sys.executable, "-m", "venv", str(VENV)]).returncode:
            fail("Python can't make a virtual environment here; on Debian and Ubuntu: apt install python3-venv")
    probe = f"import sys; raise SystemExit(sys.version_info < {OLDEST!r})"
    if subprocess.run([str(PYTHON), "-c", probe]).returncode:
        fail("The Python in .venv doesn't run or is too old. Remove the folder .venv and try again.")
    has_pip = not subprocess.run([str(PYTHON), "-m", "pip", "--version"], stdout=subprocess.DEVNULL).returncode
    if not has_pip and subprocess.run([str(PYTHON), "-m", "ensurepip"], stdout=subprocess.DEVNULL).returncode:
        fail("There is no pip in .venv, and none can be put in. Remove the folder .venv and try again.")


def pip(*arguments):
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    if subprocess.run(command + list(arguments), cwd=str(ROOT)).returncode:
        fail("pip could not install what the lock files pin (see above).")


def wait_for(lock):
    """Two makes at once must not install into one environment at the same time."""
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("waiting for another make to finish its installation")
        fcntl.flock(lock, fcntl.LOCK_EX)


def say(sentence):
    sys.stderr.write("setup: " + sentence + os.linesep)
    sys.stderr.flush()


def fail(sentence):
    say(sentence)
    raise SystemExit(1)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in LOCKS:
        fail("usage: setup_venv.py run|dev")
    main(sys.argv[1])
