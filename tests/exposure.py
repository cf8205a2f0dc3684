"""What a running stack shows to others: where it listens, and where a word stands that should stand nowhere."""

import ipaddress
import json
import socket
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import psutil
import psycopg2

from lab.stack import process
from lab.stack.home import Home

LISTEN = "0A"  # state of a TCP socket in /proc/net
PLANTED = {  # a card, its owner and an amount: found in a log, they came from a row
    "card_type": "PLANTED-4711-0815",
    "user_id": 990_047_113,
    "amount": "7107107.13",
}


def stack_processes(home: Home) -> dict[int, str]:
    """Process id -> name of everything that a stack runs: what it started, and what that started."""
    found = {}
    for name in process.names(home):
        running = process.running(home, name)
        children = running.children(recursive=True) if running is not None else []
        for one in [*([running] if running is not None else []), *children, *process.members(home, name)]:
            found[one.pid] = name
    return found


def listeners(home: Home) -> list[tuple[str, int, str]]:
    """(address, port, name) of each TCP socket of a stack that accepts connections, by the kernel's own tables."""
    names = stack_processes(home)
    owners = {inode: names[pid] for pid in names for inode in _sockets(pid)}
    found = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == LISTEN and rest[5] in owners:
                address, port = local.split(":")
                found.append((_address(family, address), int(port, 16), owners[rest[5]]))
    return sorted(found)


def is_loopback(address: str) -> bool:
    one = ipaddress.ip_address(address)
    mapped = one.ipv4_mapped if isinstance(one, ipaddress.IPv6Address) else None
    return (mapped or one).is_loopback


def _sockets(pid: int) -> Iterator[str]:
    try:
        handles = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return  # it has ended meanwhile
    for handle in handles:
        try:
            target = str(handle.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target.removeprefix("socket:[").removesuffix("]")


def _address(family: int, digits: str) -> str:
    """The kernel writes each word of four bytes in its own order: turned round on a little-endian machine."""
    words = bytes.fromhex(digits)
    turned = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
    return socket.inet_ntop(family, turned)


def passwords(home: Home) -> dict[str, str]:
    """Every secret of a stack by a name: passwords of roles, and Airflow's password and keys when it has them."""
    found: dict[str, str] = {}
    for path in home.secrets.glob("*.json"):
        kept = json.loads(path.read_text())
        found |= {f"{path.stem} {name}": value for name, value in kept.items() if isinstance(value, str)}
    return found


def in_files(paths: Iterator[Path], words: Mapping[str, str]) -> list[str]:
    """Where a word stands in a file: `name of the word in path`."""
    found = []
    for path in paths:
        try:
            data = path.read_bytes()
        except (FileNotFoundError, IsADirectoryError):
            continue  # rotated away meanwhile
        found += [f"{name} in {path}" for name, word in words.items() if word.encode() in data]
    return found


def logs(home: Home) -> Iterator[Path]:
    """Every log file of a stack, those of Airflow's tasks among them."""
    for folder in (home.logs, home.path / "airflow" / "logs"):
        yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def open_files(home: Home) -> Iterator[Path]:
    """Every file of a stack that others may read, logs and Kafka's topics among them; PostgreSQL's data is closed."""
    for path in home.path.rglob("*"):
        if path.is_file() and not path.is_symlink() and home.secrets not in path.parents:
            try:
                if stat.S_IMODE(path.stat().st_mode) & 0o077:
                    yield path
            except (FileNotFoundError, PermissionError):
                continue


def in_arguments(words: Mapping[str, str]) -> list[str]:
    """Where a word stands in the arguments of any process of this machine, as `ps` shows them to everybody."""
    found = []
    for one in psutil.process_iter():
        try:
            arguments = Path(f"/proc/{one.pid}/cmdline").read_bytes()
        except OSError:
            continue
        found += [f"{name} in the arguments of {one.pid}" for name, word in words.items() if word.encode() in arguments]
    return found


def plant(dsn: str) -> None:
    """Rows that every path meets: usual ones, one with an alert, a correction, a deletion and one nobody can judge."""
    insert = "INSERT INTO transactions (user_id, amount, card_type) VALUES (%s, %s, %s) RETURNING id"
    user, card = PLANTED["user_id"], PLANTED["card_type"]
    with closing(psycopg2.connect(dsn)) as session, session.cursor() as cursor:
        ids = []
        for amount in ("10.00", "10.00", "10.00", PLANTED["amount"], "NaN", "10.00"):
            cursor.execute(insert, [user, amount, card])
            ids += cursor.fetchall()
            session.commit()
        cursor.execute("UPDATE transactions SET merchant_id = 3, amount = amount + 1 WHERE id = %s", ids[1])
        cursor.execute("DELETE FROM transactions WHERE id = %s", ids[0])
        session.commit()


def planted_words() -> dict[str, str]:
    """What must not stand in a log; the amount also in cents."""
    amount = str(PLANTED["amount"])
    return {
        "card": str(PLANTED["card_type"]),
        "user": str(PLANTED["user_id"]),
        "amount": amount,
        "cents": amount.replace(".", ""),
    }
