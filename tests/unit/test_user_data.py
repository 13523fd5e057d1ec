"""What a machine does when it starts and before EC2 takes it back: the template's own scripts, run by bash.

The metadata service is a stand-in over HTTP; `docker` and `systemctl` are executables that write down their calls.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.models.metadata_service import MetadataService, metadata_service
from tests.models.template_rules import load_template, user_data

pytestmark = pytest.mark.skipif(not (shutil.which("bash") and shutil.which("curl")), reason="needs bash and curl")
FACTS = {
    "instance-type": "g5.xlarge", "placement/availability-zone": "eu-west-1a", "placement/region": "eu-west-1",
    "instance-life-cycle": "spot", "instance-id": "i-0123456789abcdef0",
}  # fmt: skip
NOTICE = '{"action": "terminate", "time": "2026-11-29T10:00:00Z"}'
DOCKER = """#!/bin/bash
echo "docker $*" >> "$CALLS"
case $1 in
    ps) [ "$*" = "ps --quiet --filter label=com.amazonaws.ecs.task-arn" ] && printf '%s' "$CONTAINERS" ;;
esac
"""


@dataclass(frozen=True)
class Machine:
    """A root folder, the variables that lead the scripts there, and what was called."""

    root: Path
    environment: dict[str, str]

    def run(self, script: str) -> None:
        """Run a script as cloud-init does."""
        done = subprocess.run(["bash", "-c", script], env=self.environment, capture_output=True, text=True, check=False)
        assert done.stderr == ""

    @property
    def calls(self) -> list[str]:
        """Calls of `docker` and `systemctl`, in their order."""
        calls = self.root / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def called(self, words: str) -> list[str]:
        """The calls with these words."""
        return [call for call in self.calls if words in call]


@pytest.fixture
def service() -> Iterator[MetadataService]:
    with metadata_service(dict(FACTS)) as service:
        yield service


@pytest.fixture
def machine(service: MetadataService, tmp_path: Path) -> Machine:
    for folder in ("etc/ecs", "etc/systemd/system", "usr/local/sbin", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    for name, script in (("docker", DOCKER), ("systemctl", '#!/bin/bash\necho "systemctl $*" >> "$CALLS"\n')):
        executable = tmp_path / "bin" / name
        executable.write_text(script)
        executable.chmod(0o755)
    variables = {"ROOT": tmp_path, "CALLS": tmp_path / "calls", "IMDS": service.address, "INTERVAL": "0.1",
                 "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CONTAINERS": ""}  # fmt: skip
    return Machine(root=tmp_path, environment={name: str(value) for name, value in variables.items()})


@pytest.fixture(scope="module")
def scripts() -> list[str]:
    """Those that the template has, for the agent, for the machine's facts and for its end."""
    return user_data(load_template(ROOT / "infra" / "batch.yaml"))


def test_agent_drains_a_machine_that_goes_and_gives_jobs_two_minutes(machine: Machine, scripts: list[str]) -> None:
    config = machine.root / "etc/ecs/ecs.config"
    config.write_text("ECS_CLUSTER=of-batch\n")  # Batch's own part of the user data
    machine.run(scripts[0])
    assert config.read_text().splitlines() == [
        "ECS_CLUSTER=of-batch", "ECS_ENABLE_SPOT_INSTANCE_DRAINING=true", "ECS_CONTAINER_STOP_TIMEOUT=120s",
    ]  # fmt: skip


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_machine_writes_down_what_it_is_where_any_user_can_read_it(
    machine: Machine, scripts: list[str], service: MetadataService, market: str
) -> None:
    service.facts["instance-life-cycle"] = market
    machine.run(scripts[1])
    file = machine.root / "var/lib/job/machine.json"
    assert json.loads(file.read_text()) == {
        "instance_type": "g5.xlarge", "zone": "eu-west-1a", "region": "eu-west-1", "market": market,
        "instance_id": "i-0123456789abcdef0",
    }  # fmt: skip
    assert file.stat().st_mode & stat.S_IROTH


def test_machine_that_is_told_nothing_leaves_an_empty_folder(
    machine: Machine, scripts: list[str], service: MetadataService
) -> None:
    """Half a file would be worse: a run that finds none records no machine."""
    del service.facts["placement/region"]
    machine.run(scripts[1])
    assert list((machine.root / "var/lib/job").iterdir()) == []


def test_service_that_waits_for_the_notice_starts_without_holding_up_the_boot(
    machine: Machine, scripts: list[str]
) -> None:
    machine.run(scripts[2])
    watcher = machine.root / "usr/local/sbin/job-spot"
    assert watcher.stat().st_mode & stat.S_IXUSR
    assert "ExecStart=/usr/local/sbin/job-spot\n" in (machine.root / "etc/systemd/system/job-spot.service").read_text()
    assert machine.calls == ["systemctl daemon-reload", "systemctl enable --now --no-block job-spot.service"]


@contextmanager
def watching(machine: Machine, scripts: list[str], *, containers: str) -> Iterator[None]:
    """The service that waits for the notice, as systemd would run it, on a machine with these containers of jobs."""
    machine.run(scripts[2])
    environment = machine.environment | {"CONTAINERS": containers}
    with subprocess.Popen([machine.root / "usr/local/sbin/job-spot"], env=environment) as process:
        try:
            yield
        finally:
            process.kill()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_notice_asks_all_jobs_to_end_and_nothing_is_asked_before_it(
    machine: Machine, scripts: list[str], service: MetadataService
) -> None:
    with watching(machine, scripts, containers="first\nsecond\n"):
        wait_until(lambda: service.asked.count("spot/instance-action") >= 3)
        assert machine.called("docker") == []
        service.facts["spot/instance-action"] = NOTICE
        wait_until(lambda: machine.called("docker kill --signal TERM first second"))
    assert machine.called("docker stop") == []  # it would kill whoever takes too long, and 137 is final


def test_jobs_are_asked_until_the_machine_goes_so_that_none_is_missed_that_came_late(
    machine: Machine, scripts: list[str], service: MetadataService
) -> None:
    service.facts["spot/instance-action"] = NOTICE
    with watching(machine, scripts, containers="late\n"):
        wait_until(lambda: len(machine.called("docker kill --signal TERM late")) >= 2)


def test_notice_without_jobs_asks_nobody(machine: Machine, scripts: list[str], service: MetadataService) -> None:
    service.facts["spot/instance-action"] = NOTICE
    with watching(machine, scripts, containers=""):
        wait_until(lambda: len(machine.called("docker ps")) >= 2)
    assert machine.called("docker kill") == []


def test_watcher_goes_on_where_the_metadata_service_fails(machine: Machine, scripts: list[str]) -> None:
    elsewhere = Machine(root=machine.root, environment=machine.environment | {"IMDS": "http://127.0.0.1:1"})
    with watching(elsewhere, scripts, containers="first\n"):
        time.sleep(1)
    assert machine.called("docker") == []
