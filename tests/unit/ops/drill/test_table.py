"""The table of faults: complete rows, told in the document as they stand in the code."""

from pathlib import Path

import pytest

from corvus_proxy.ops.drill import report
from corvus_proxy.ops.drill.faults import table
from corvus_proxy.ops.drill.report import OK, SKIPPED, VIOLATED, Row

DOCUMENT = Path(__file__).parents[4] / "docs" / "drill.md"


def test_the_document_has_every_fault_as_the_code_has_it() -> None:
    """`python -m corvus_proxy.ops.drill.faults.table`."""
    lines = DOCUMENT.read_text().splitlines()
    assert [line for line in lines if line.startswith("| F")] == table.rows()


@pytest.mark.parametrize("fault", table.TABLE.values(), ids=lambda fault: f"F{fault.number}")
def test_a_fault_can_be_made_or_says_what_it_needs(fault: table.Fault) -> None:
    assert (fault.run is None) == bool(fault.needs)
    assert fault.name
    assert fault.done
    assert fault.expected


def test_a_report_is_a_row_a_fault_and_the_worst_seed_decides() -> None:
    one = [Row(1, "one", 10, 2, 3, 0, OK), Row(22, "two", verdict=SKIPPED, reason="needs it")]
    two = [Row(1, "one", 5, 1, 0, 7, VIOLATED, "C6: 7 apart"), one[1]]
    merged = report.merge([one, two])
    assert merged[0][:8] == (1, "one", 15, 3, 3, 7, VIOLATED, "C6: 7 apart")
    found = report.document(4, 2, merged)
    assert (found["ok"], found["seed"], len(found["faults"])) == (False, 4, 2)
    assert report.document(4, 1, one)["ok"]
    lines = report.markdown(found).splitlines()
    assert lines[0] == "Seeds 4 to 5:"
    assert lines[4] == "| F1 | one | 15 | 3 | 3 | 7 | violated |"
    assert lines[5] == "| F22 | two | – | – | – | – | skipped: needs it |"
    assert "violated: C6: 7 apart" in report.line(merged[0])
