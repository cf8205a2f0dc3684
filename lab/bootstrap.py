"""Make a fresh clone runnable: Java, `.venv`, jars. Standard library only: it runs before `.venv` exists.

    python3 lab/bootstrap.py             set up what is missing; a second time it only looks
    python3 lab/bootstrap.py --lock-jars write lab/stack/jars/jars.lock anew from what was retrieved
    python3 lab/bootstrap.py --jars-only Java and jars for a .venv that holds pyspark already (images)

Everything lands in this checkout (`.venv/`, `.twinpath/`); after the first time no network is needed.
Exit status 3 means that the machine lacks something, and the last line says what to do.
"""

import argparse
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".twinpath"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
JAR_FILES = ROOT / "lab" / "stack" / "jars"
JAR_LOCK = JAR_FILES / "jars.lock"
LOCKED_FOR = ("linux", 3, 11)  # another system or Python may need other packages than requirements.sha256 holds
JAVA_MINIMUM = 17
JAVA_PACKAGE = "openjdk-17-jre-headless"
INSTALL_JAVA = {  # by the package tool that is there
    "apt-get": f"sudo apt-get update && sudo apt-get install -y {JAVA_PACKAGE}",
    "dnf": "sudo dnf install -y java-17-openjdk-headless",
    "zypper": "sudo zypper install -y java-17-openjdk-headless",
    "pacman": "sudo pacman -S jre17-openjdk-headless",
    "apk": "sudo apk add openjdk17-jre-headless",
    "brew": "brew install openjdk@17",
}
STARTED = time.monotonic()


class Missing(Exception):
    """The machine lacks something; the text says what was found, what was wanted and what to do."""


def say(text: str) -> None:
    """One progress line with the seconds since the start, on standard error."""
    sys.stderr.write(f"[{time.monotonic() - STARTED:6.1f} s] {text}\n")
    sys.stderr.flush()


def run(command: list[str], log: Path, what: str, env: dict[str, str] | None = None) -> None:
    """Run a command into a log file, with a sign of life every 15 s; Missing when it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=ROOT, env=env)
        while True:
            try:
                status = process.wait(timeout=15)
                break
            except subprocess.TimeoutExpired:
                say(f"  {what}: still at it (log: {log.relative_to(ROOT)})")
            except KeyboardInterrupt:
                process.terminate()
                raise
    if status:
        tail = log.read_text(errors="replace").splitlines()[-8:]
        raise Missing("\n".join([f"{what} failed with status {status}; the end of {log}:", *tail]))


# Java -------------------------------------------------------------------------------------------------


def java_version(java: Path) -> int | None:
    """Major version of a `java` binary, or None when it is none."""
    try:
        found = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(\d+)(?:\.(\d+))?', found.stderr)
    if not match:
        return None
    major = int(match[1])
    return int(match[2] or 0) if major == 1 else major


def java_candidates() -> Iterator[Path]:
    """Where a Java may be: JAVA_HOME, PATH, the usual folders; the newest of these last."""
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"]) / "bin" / "java"
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path)
    for folder in ("/usr/lib/jvm", "/opt/java", "/Library/Java/JavaVirtualMachines"):
        for pattern in ("*/bin/java", "*/Contents/Home/bin/java"):
            yield from sorted(Path(folder).glob(pattern))


def find_java() -> tuple[Path | None, list[str]]:
    """The first Java that is new enough, and what else was found."""
    seen: list[str] = []
    for java in java_candidates():
        version = java_version(java)
        if version is not None and version >= JAVA_MINIMUM:
            return java.resolve(), seen
        seen.append(f"{java} ({'Java ' + str(version) if version else 'not a working java'})")
    return None, seen


def set_up_java() -> Path:
    """Find Java, or install it on Debian and Ubuntu as root after saying so; else one command and a stop."""
    java, seen = find_java()
    for other in seen:
        say(f"passing over {other}: wanted Java {JAVA_MINIMUM} or later")
    if java is None:
        debian = Path("/etc/debian_version").exists() and shutil.which("apt-get")
        if not (debian and os.geteuid() == 0):
            mend = next(
                (command for tool, command in INSTALL_JAVA.items() if shutil.which(tool)), "set JAVA_HOME to one"
            )
            raise Missing(f"found no Java, wanted {JAVA_MINIMUM} or later. Run:\n  {mend}\nthen the same again.")
        say(f"no Java {JAVA_MINIMUM} found; installing the Debian package {JAVA_PACKAGE}")
        apt = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update"], STATE / "logs" / "java.log", "apt-get update", apt)
        run(["apt-get", "install", "-y", JAVA_PACKAGE], STATE / "logs" / "java.log", "apt-get install", apt)
        java, _ = find_java()
        if java is None:
            raise Missing(f"{JAVA_PACKAGE} was installed, but no java was found. Set JAVA_HOME to it.")
    (STATE / "java").write_text(f"{java}\n")
    return java


# Python -----------------------------------------------------------------------------------------------


def digest(*paths: Path) -> str:
    """One hash over the contents of files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()


def set_up_venv() -> None:
    """`.venv` from requirements.sha256, each file by its digest, the project editable in it."""
    stamp_file = VENV / "twinpath.stamp"
    names = ("requirements.txt", "requirements.lock", "requirements.sha256", "pyproject.toml")
    inputs = [ROOT / name for name in names]
    stamp = f"{digest(*inputs)} {sys.version_info[:2]} {ROOT}"
    if stamp_file.exists() and stamp_file.read_text() == stamp and PYTHON.exists():
        return
    if sys.version_info < (3, 11):
        raise Missing(f"found Python {sys.version.split()[0]}, wanted 3.11 or later. Run: make PYTHON=python3.11")
    log = STATE / "logs" / "pip.log"
    if not (VENV / "bin" / "pip").exists():
        say("making .venv")
        make_venv(log)
    say("installing requirements.txt into .venv (about 1.5 GB on disk; two to four minutes)")
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-q"]
    if (sys.platform, *sys.version_info[:2]) == LOCKED_FOR:
        run([*pip, "--require-hashes", "--no-deps", "-r", "requirements.sha256"], log, "pip install")
    else:
        say("packages are installed by version alone: their digests were locked for Python 3.11 on Linux")
        run([*pip, "-r", "requirements.txt", "-c", "requirements.lock"], log, "pip install")
    run([*pip, "--no-build-isolation", "--no-deps", "-e", "."], log, "pip install -e .")
    stamp_file.write_text(stamp)


def make_venv(log: Path) -> None:
    """An empty environment; Debian splits ensurepip off, so its package may be needed first."""
    try:
        run([sys.executable, "-m", "venv", "--clear", str(VENV)], log, "python -m venv")
    except Missing:
        package = f"python3.{sys.version_info[1]}-venv"
        command = f"apt-get update && apt-get install -y {package}"
        if not (Path("/etc/debian_version").exists() and os.geteuid() == 0):
            raise Missing(
                f"`{sys.executable} -m venv` failed. Run:\n  sudo sh -c '{command}'\nthen the same again."
            ) from None
        say(f"installing the Debian package {package}")
        run(["sh", "-c", command], log, "apt-get install", {**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
        run([sys.executable, "-m", "venv", "--clear", str(VENV)], log, "python -m venv")


# Jars -------------------------------------------------------------------------------------------------


def set_up_jars(java: Path) -> None:
    """Jars by Ivy (it comes inside the pyspark wheel), one folder per class path, checked by SHA-256."""
    given = os.environ.get("JARS_DIR")
    jars = Path(given).resolve() if given else STATE / "jars"
    stamp_file = STATE / "jars.stamp"
    stamp = f"{digest(JAR_LOCK)} {jars}"
    if stamp_file.exists() and stamp_file.read_text() == stamp and not wrong_jars(jars, sizes_only=True):
        return
    if not given and wrong_jars(jars):
        retrieve(java, jars)
    problems = wrong_jars(jars)
    if problems:
        listed = "\n  ".join(problems[:10])
        mend = "put the right files there" if given else "run the same again; it retrieves them anew"
        if not given:
            shutil.rmtree(jars, ignore_errors=True)
        raise Missing(f"{len(problems)} jars do not match {JAR_LOCK.relative_to(ROOT)}; {mend}:\n  {listed}")
    unpack_plugin(jars)
    stamp_file.write_text(stamp)


def retrieve(java: Path, jars: Path) -> None:
    """Fetch every artifact into `jars`; needs the package registry, once."""
    say("fetching the jars of Kafka, Connect, Debezium and Spark (117 files, 100 MB; about a minute)")
    shutil.rmtree(jars, ignore_errors=True)
    pyspark = next((VENV / "lib").glob("python3*/site-packages/pyspark"))
    version = re.search(r"^pyspark==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    if version is None:
        raise Missing("requirements.txt pins no pyspark; the jar of Spark's Kafka source needs its version")
    ivy = next((pyspark / "jars").glob("ivy-*.jar"))
    pattern = "[conf]/[artifact]-[revision](-[classifier]).[ext]"
    command = [str(java), f"-Dpyspark.version={version[1]}", "-jar", str(ivy)]
    command += ["-cache", str(STATE / "ivy-cache"), "-settings", str(JAR_FILES / "ivysettings.xml")]
    command += ["-ivy", str(JAR_FILES / "ivy.xml"), "-types", "jar", "bundle", "tar.gz"]
    run([*command, "-retrieve", f"{jars}/{pattern}"], STATE / "logs" / "ivy.log", "jars by Ivy")
    shutil.rmtree(STATE / "ivy-cache", ignore_errors=True)


def locked_jars() -> dict[str, tuple[str, int]]:
    """`class path/file` -> (SHA-256, bytes), as jars.lock has them."""
    rows = (line.split() for line in JAR_LOCK.read_text().splitlines() if not line.startswith("#"))
    return {name: (sha, int(size)) for sha, size, name in rows}


def wrong_jars(jars: Path, *, sizes_only: bool = False) -> list[str]:
    """What is missing or differs from the lock."""
    problems = []
    for name, (sha, size) in locked_jars().items():
        path = jars / name
        if not path.is_file():
            problems.append(f"{name}: missing in {jars}")
        elif path.stat().st_size != size or not (sizes_only or digest(path) == sha):
            problems.append(f"{name}: found other contents than the lock's {sha[:12]}...")
    if sizes_only and not (STATE / "plugins" / "debezium-connector-postgres").is_dir():
        problems.append("debezium-connector-postgres: not unpacked")
    return problems


def configure_spark() -> None:
    """Defaults of this environment's Spark, so that a plain spark-submit finds our jars and stays on loopback."""
    given = os.environ.get("JARS_DIR")
    folder = (Path(given).resolve() if given else STATE / "jars") / "spark"
    home = next((VENV / "lib").glob("python3*/site-packages/pyspark"))
    lines = [
        "# Written by lab/bootstrap.py; spark-submit's own options win.",
        "spark.master local[2]",
        f"spark.jars {','.join(str(path) for path in sorted(folder.glob('*.jar')))}",
        f"spark.pyspark.python {PYTHON}",
        "spark.driver.host 127.0.0.1",
        "spark.driver.bindAddress 127.0.0.1",
        "spark.ui.enabled false",
    ]
    text = "".join(f"{line}\n" for line in lines)
    defaults = home / "conf" / "spark-defaults.conf"
    if not defaults.exists() or defaults.read_text() != text:
        defaults.parent.mkdir(exist_ok=True)
        defaults.write_text(text)


def unpack_plugin(jars: Path) -> None:
    """Unpack Debezium's plugin archive to where Connect's plugin.path points."""
    plugins = STATE / "plugins"
    shutil.rmtree(plugins, ignore_errors=True)
    plugins.mkdir(parents=True)
    for archive in (jars / "debezium").glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):  # Python 3.11.4 and later; the archive's digest is checked anyway
                tar.extractall(plugins, filter="data")
            else:
                tar.extractall(plugins)  # noqa: S202


def lock_jars() -> None:
    """Write jars.lock from the files that are there."""
    rows = ["# SHA-256, bytes, class path/file; written by: python3 lab/bootstrap.py --lock-jars"]
    for path in sorted((STATE / "jars").glob("*/*")):
        rows.append(f"{digest(path)} {path.stat().st_size} {path.parent.name}/{path.name}")
    JAR_LOCK.write_text("\n".join(rows) + "\n")
    say(f"wrote {JAR_LOCK.relative_to(ROOT)} with {len(rows) - 1} files")


# ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Two set-ups of one checkout wait for each other."""
    STATE.mkdir(mode=0o755, exist_ok=True)
    with (STATE / "setup.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this checkout is running; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Set up; 0 when everything is there, 3 when the machine lacks something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock-jars", action="store_true", help="write jars.lock from what was retrieved")
    parser.add_argument("--jars-only", action="store_true", help="leave .venv as it is; it must hold pyspark")
    arguments = parser.parse_args()
    try:
        with only_one():
            java = set_up_java()
            if not arguments.jars_only:
                set_up_venv()
            if arguments.lock_jars:
                retrieve(java, STATE / "jars")
                lock_jars()
            set_up_jars(java)
            configure_spark()
    except Missing as problem:
        say(f"cannot go on: {problem}")
        return 3
    except OSError as problem:  # a full disk, a checkout that may not be written
        say(f"cannot go on: {problem.filename or ROOT}: {problem.strerror or problem}")
        return 3
    except KeyboardInterrupt:
        return 130
    say(f"set-up is complete (Python {sys.version.split()[0]}, {java})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
