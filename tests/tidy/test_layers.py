"""Imports point down, as pyproject.toml lists the layers."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_point_down() -> None:
    """Every contract of `[tool.importlinter]` holds."""
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_started_gateway_has_no_template_shop_or_payment_code() -> None:
    """The modules that the gateway role loads."""
    code = (
        "import sys; from corvus_proxy.roles import gateway;"
        "print(chr(10).join(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "corvus_proxy.gateway.lifecycle" in loaded
    for name in ("jinja2", "starlette", "stripe", "asyncpg", "httpx", "cyclopts"):
        assert name not in loaded, name
    for package in ("site", "shop", "books", "ledger", "console", "dev", "ops"):
        assert f"corvus_proxy.{package}" not in loaded, package
