"""What a demonstration states on the pages of trust and law: examples, each marked as one."""

from typing import Any

_WHAT = "This is a demonstration"
DEMO_TRUST: dict[str, Any] = {
    "entity": f"{_WHAT}: Example Gateway Ltd (no such company)",
    "address": f"{_WHAT}: 1 Example Street, 00000 Example Town",
    "registration": f"{_WHAT}: register and number stand here",
    "contact": f"{_WHAT}: contact@operator.example",
    "privacy_contact": f"{_WHAT}: privacy@operator.example",
    "affiliation": f"{_WHAT}: owners, group and partners of the operator stand here.",
    "capacity": {
        "anthropic": f"{_WHAT}: a simulated provider on this machine.",
        "openai": f"{_WHAT}: a simulated provider on this machine.",
        "glm": f"{_WHAT}: a simulated provider on this machine.",
    },
    "data_handling": (
        f"{_WHAT}: prompts go to a simulated provider on this machine, which keeps a log of them in"
        " the state folder."
    ),
    "subprocessors": [f"{_WHAT}: nobody else handles data."],
    "retention": f"{_WHAT}: no backups are made; logs stay in the state folder.",
    "support_hours": f"{_WHAT}: nobody answers.",
    "compatibility": (
        f"{_WHAT}: the clients are tested with the software's own suite, against simulated"
        " providers."
    ),
    "security_contact": "mailto:security@demonstration.invalid",
}
DEMO_LEGAL: dict[str, Any] = {
    "law": f"{_WHAT}: the law and the courts that apply stand here.",
    "terms": f"{_WHAT}. The operator's terms of service stand here.",
    "privacy": f"{_WHAT}. What the operator says of personal data stands here.",
}
