"""What every results file of a benchmark says of itself."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from kalecast import results


def test_a_file_tells_command_date_and_machine(tmp_path: Path):
    path = tmp_path / "figures" / "some.json"
    results.write_results(path, "make benchmark", {"ratio": 2.5})
    written = json.loads(path.read_text())
    assert (written["command"], written["ratio"]) == ("make benchmark", 2.5)
    assert datetime.fromisoformat(written["date"]) <= datetime.now(UTC)
    assert set(written["machine"]) == {"cpu", "cores", "memory_gib", "system", "python"}
    assert written["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert [file.name for file in path.parent.iterdir()] == ["some.json"]


def test_a_processor_is_named_without_its_marks(tmp_path: Path):
    message = tmp_path / "cpuinfo"
    message.write_text("processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz\n")
    assert results.machine(message)["cpu"] == "Intel Xeon E5-2680 v4 @ 2.40GHz"


def test_where_no_processor_is_named_its_kind_is(tmp_path: Path):
    assert results.machine(tmp_path / "nothing")["cpu"] == os.uname().machine
