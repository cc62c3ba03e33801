"""docs/going-live.md, done: its blocks in their order on a machine of a test, up to the domain.

Its folder, names and ports are the test's; the certificate is self-signed; provider, payments and
mail are simulated over their real protocols. All else is as the document has it: each role by the
unit's own command, production on, nginx before them with TLS.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from corvus_proxy.dev.payments.server import BTCPAY_KEY
from corvus_proxy.ops import children, embedded
from tests.document import blocks, joined

pytestmark = pytest.mark.slow
NAME = "going-live.md"
ROLES = ("worker", "gateway", "site", "console")
SECRETS = {
    "anthropic": "sim-key",
    "stripe": "sk_live_of_a_test",
    "stripe-webhook": "whsec_of_a_test",
    "mail": "word",
}
DOMAIN = {
    # What is left once everything is done that can be done without a domain and a real provider.
    "brand.site_url": "which only this machine reaches",
    "brand.api_url": "which only this machine reaches",
    "stripe.api_base": "unencrypted",
    "upstream": "on this machine",
}


class Machine:
    """A machine on which the document is done."""

    def __init__(self, folder: Path, postgres_url: str) -> None:
        self.folder = folder
        self.log = folder.with_suffix(".log")
        taken: list[int] = []
        for _ in range(12):
            taken.append(embedded.free_port(taken))
        (self.api, self.site, self.console, self.status, self.api_tls, self.site_tls, self.redis,
         self.providers, self.payments, self.smtp, self.mail, _) = taken  # fmt: skip
        base = postgres_url.rpartition("/")[0]
        self.database_url = f"{base}/live{os.urandom(6).hex()}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            name: text for name, text in os.environ.items() if not name.startswith("CORVUS_")
        } | {
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:{os.environ['PATH']}",
            "CURL_CA_BUNDLE": str(folder / "tls/fullchain.pem"),
            "LC_ALL": "C.UTF-8",
            "CORVUS_DATABASE_URL": self.database_url,
            "CORVUS_REDIS_URL": f"redis://127.0.0.1:{self.redis}/0",
        }

    def here(self, text: str) -> str:
        """A block with this machine's folder, names and ports."""
        for theirs, ours in (
            ("/srv/corvus", str(self.folder)),
            ("https://api.rook.example", f"https://127.0.0.1:{self.api_tls}"),
            ("https://rook.example", f"https://127.0.0.1:{self.site_tls}"),
            ("https://api.anthropic.com", f"http://127.0.0.1:{self.providers}"),
            ("http://127.0.0.1:8080", f"http://127.0.0.1:{self.api}"),
            ("http://127.0.0.1:8081", f"http://127.0.0.1:{self.site}"),
            ("/opt/corvus/bin/corvus", str(Path(sys.executable).with_name("corvus"))),
        ):
            text = text.replace(theirs, ours)
        return text

    def pasted(self, text: str, *, fails: bool = False) -> str:
        """A block in a shell; what it printed. Raises AssertionError where it fails."""
        done = subprocess.run(
            ["sh", "-e", "-c", self.here(text)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode != 0) == fails, (text, done.stdout, done.stderr, self.told())
        return done.stdout

    def told(self) -> str:
        """The ends of all logs."""
        logs = sorted(self.folder.parent.glob("*.log"))
        return "\n".join(f"{log.name}:\n{children.tail(log)}" for log in logs)

    def configure(self) -> None:
        """The document's own file, with what leads to this machine's neighbours."""
        text = self.here(joined(NAME, "toml"))
        for theirs, ours in (
            ("[stripe]\n", f'[stripe]\napi_base = "http://127.0.0.1:{self.payments}"\n'
             f'checkout_origin = "http://127.0.0.1:{self.payments}"\n'),
            ('host = "smtp.mail-provider.example"\nport = 587\nsecurity = "starttls"\n'
             'user = "rook"\n', f'host = "127.0.0.1"\nport = {self.smtp}\nsecurity = "none"\n'),
            (f'password_file = "{self.folder}/secrets/mail"\n', ""),
            (f'[status]\ndir = "{self.folder}/status"\n',
             f'[status]\ndir = "{self.folder}/status"\nprobe_s = 1\n'
             f'site_url = "http://127.0.0.1:{self.site}"\n'
             f'api_url = "http://127.0.0.1:{self.api}"\n'),
        ):  # fmt: skip
            assert theirs in text, theirs
            text = text.replace(theirs, ours)
        config = self.folder / "corvus.toml"
        config.write_text(text)
        config.chmod(0o600)
        for name in ("terms.md", "privacy.md"):
            (self.folder / name).write_text("# Ours\n")
        for name, secret in SECRETS.items():
            path = self.folder / "secrets" / name
            path.touch(mode=0o600)
            path.write_text(secret)

    def start(self, name: str, *words: str, **more: str) -> None:
        log = self.folder.parent / f"{name}.log"
        self.processes[name] = children.start(
            list(words), log, environment={**self.environment, **more}
        )

    def start_neighbours(self) -> None:
        """Who is real in life: a provider, a payment service, a mail server."""
        secrets = self.folder.parent / "theirs"
        secrets.mkdir()
        for name, text in (
            ("stripe-key", SECRETS["stripe"]),
            ("stripe-hook", SECRETS["stripe-webhook"]),
            ("btcpay-key", BTCPAY_KEY),
            ("btcpay-hook", "unused"),
        ):
            (secrets / name).write_text(text)
        python = sys.executable
        self.start("providers", python, "-m", "corvus_proxy.dev.providers",
                   "--port", str(self.providers))  # fmt: skip
        self.start("payments", python, "-m", "corvus_proxy.dev.payments", "--port",
                   str(self.payments), "--secrets", str(secrets), "--page-url",
                   f"http://127.0.0.1:{self.payments}/pay", "--stripe-hook",
                   f"http://127.0.0.1:{self.site}/webhooks/stripe")  # fmt: skip
        self.start("mail", python, "-m", "corvus_proxy.dev.mail", "--port", str(self.mail),
                   "--smtp-port", str(self.smtp))  # fmt: skip

    def start_redis(self) -> None:
        """With the document's own file."""
        folder = self.folder.parent / "redis"
        folder.mkdir()
        config = folder / "redis.conf"
        where = f'dir "{folder}"\nport {self.redis}\nbind 127.0.0.1\n'
        config.write_text(joined(NAME, "redis") + where)
        self.start("redis", str(embedded.redis_binary()), str(config))

    def start_front(self) -> None:
        """nginx with the document's own file, and a certificate of this test."""
        tls = self.folder / "tls"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
             "-subj", "/CN=rook.example", "-addext", "subjectAltName=IP:127.0.0.1",
             "-keyout", str(tls / "privkey.pem"), "-out", str(tls / "fullchain.pem")],
            check=True, capture_output=True,
        )  # fmt: skip
        text = self.here(joined(NAME, "nginx"))
        for port in (self.api_tls, self.site_tls):
            text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;", 1)
        folder = self.folder.parent / "nginx"
        folder.mkdir()
        temps = "".join(
            f"{kind}_temp_path {folder / kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = text.replace("http {\n", f"http {{\n{temps}", 1)
        (folder / "nginx.conf").write_text(text)
        words = {
            "-p": folder,
            "-c": folder / "nginx.conf",
            "-e": folder / "error.log",
            "-g": f"daemon off; pid {folder / 'pid'};",
        }
        self.start("nginx", "nginx", *(str(word) for pair in words.items() for word in pair))

    def database(self, statement: str) -> str:
        """One statement as the database's owner; its first value."""

        async def ask() -> object:
            connection = await asyncpg.connect(self.database_url)
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        return str(asyncio.run(ask()))

    def plant_old_log_in(self) -> None:
        """Something that the worker finds to delete."""
        self.database(
            "insert into session (session_id, wallet, key_id, kind, seen_at)"
            " values ('old', 'w', 'k', 'key', now() - interval '99 days')"
        )

    def start_roles(self) -> None:
        """By the unit's own command, each as a process."""
        unit = self.here(joined(NAME, "ini"))
        command = re.search(r"^ExecStart=(.+)$", unit, re.MULTILINE)
        more = dict(re.findall(r"^Environment=(\w+)=(.+)$", unit, re.MULTILINE))
        ports = {
            "CORVUS_GATEWAY_PORT": self.api,
            "CORVUS_SITE_PORT": self.site,
            "CORVUS_CONSOLE_PORT": self.console,
            "CORVUS_WORKER_STATUS_PORT": self.status,
        }
        assert command
        for role in ROLES:
            words = command[1].replace("%i", role).split()
            self.start(role, *words, **more, **{name: str(port) for name, port in ports.items()})

    def pay(self) -> str:
        """The buyer pays the order on Stripe's page; where that was."""
        order = json.loads((self.folder / "first-order.json").read_text())
        session = order["pay_url"].rpartition("/")[2]
        answer = httpx.post(
            f"http://127.0.0.1:{self.payments}/control/act",
            json={"id": session, "act": "pay"},
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        return str(order["pay_url"])

    def mails(self) -> list[dict[str, Any]]:
        """What has come to the mail server."""
        found = httpx.get(f"http://127.0.0.1:{self.mail}/__mails", trust_env=False)
        return list(found.json())

    def wait_for_mail(self) -> None:
        """Until the buyer has the mail with the claim link."""
        deadline_s = time.monotonic() + 30
        while not any("/claim/" in one["text"] for one in self.mails()):
            assert time.monotonic() < deadline_s, self.told()
            time.sleep(0.2)

    def stop(self) -> None:
        for name in reversed(self.processes):
            children.end(self.processes[name], signal.SIGTERM, timeout_s=15)


@pytest.fixture
def machine(tmp_path: Path, postgres_server: embedded.Postgres) -> Iterator[Machine]:
    for tool in ("nginx", "openssl", "curl"):
        if shutil.which(tool, path=f"/usr/sbin:{os.environ['PATH']}") is None:
            pytest.skip(f"apt-get install -y {tool}")
    (tmp_path / "corvus").mkdir()
    made = Machine(tmp_path / "corvus", postgres_server.url)
    try:
        yield made
    finally:
        made.stop()


def test_from_nothing_to_a_first_sale_and_its_refund(machine: Machine) -> None:
    """Every block in its order. The doctor names the domain and the simulated neighbours, nothing
    else; five dollars buy a key that works through the front; the rest goes back."""
    run = iter([one for one in blocks(NAME) if one.kind.startswith("sh")])
    machine.pasted(next(run).text)  # folders and secrets
    assert (machine.folder / "secrets/pepper").stat().st_mode & 0o077 == 0
    machine.configure()
    machine.start_redis()
    machine.start_neighbours()
    machine.pasted(next(run).text)  # migrations
    machine.plant_old_log_in()
    assert "margin" in machine.pasted(next(run).text)
    machine.start_front()
    machine.start_roles()
    machine.pasted(next(run).text)  # ready, through the front
    check_doctor(machine, next(run).text)
    machine.pasted(next(run).text)  # the order
    machine.pay()
    machine.wait_for_mail()
    bought = machine.pasted(next(run).text)
    assert "Every link holds" in bought
    assert '"type":"message"' in bought.replace(" ", "")
    assert '"end_turn"' in bought or '"max_tokens"' in bought
    back = machine.pasted(next(run).text)
    assert "USD can be sent back now" in back
    assert "4.00 USD  sent" in back
    assert "ok: " in machine.pasted(next(run).text)  # of a backup that was restored
    daily = machine.pasted(next(run).text)
    assert "drift" in daily
    assert next(run, None) is None
    mails = machine.mails()
    assert {tuple(one["recipients"]) for one in mails} == {("you@rook.example",)}
    assert all("Rook" in dict(one["headers"])["From"] for one in mails)
    check_retention(machine)
    told = machine.told()
    assert "Traceback" not in told, told


def check_doctor(machine: Machine, text: str) -> None:
    """What is left is the domain's and the neighbours'; a nearly full disk is this machine's."""
    deadline_s = time.monotonic() + 60
    while True:  # the first round of the status takes a moment
        found = json.loads(machine.pasted(text.rstrip() + " --json\n", fails=True))
        errors = [
            one["text"]
            for one in found["findings"]
            if one["level"] == "error" and "fifth" not in one["text"]
        ]
        if not any("status" in one or "measures" in one for one in errors):
            break
        assert time.monotonic() < deadline_s, errors
        time.sleep(1)
    assert {one.partition(": ")[0] for one in errors} == set(DOMAIN), errors
    for one in errors:
        assert DOMAIN[one.partition(": ")[0]] in one


def check_retention(machine: Machine) -> None:
    """The worker has deleted what was old, and counts and logs it."""
    deadline_s = time.monotonic() + 30
    while machine.database("select count(*) from session where session_id = 'old'") != "0":
        assert time.monotonic() < deadline_s, machine.told()
        time.sleep(0.5)
    metrics = httpx.get(f"http://127.0.0.1:{machine.console}/metrics", trust_env=False).text
    assert 'corvus_forgotten_rows_total{kind="session"} 1.0' in metrics
    log = (machine.folder.parent / "worker.log").read_text()
    assert re.search(r'"kind": "session".*"event": "forgotten"', log)
