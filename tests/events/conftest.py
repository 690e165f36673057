"""Alice's wallet, and receivers on real sockets: webhooks, EventBridge as moto plays it, a real RabbitMQ."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from kombu import Connection

from dj_wallet.events import services
from dj_wallet.events.models import Delivery, Destination, Event
from dj_wallet.identity.models import User
from dj_wallet.models import Wallet

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create(username="alice")


@pytest.fixture
def wallet(user: User) -> Wallet:
    return user.get_wallet()


@pytest.fixture
def other_wallet(db: None) -> Wallet:
    return User.objects.create(username="bob").get_wallet()


def happen(wallet: Wallet, *numbers: int, event_type: str = "deposit.confirmed") -> list[Event]:
    """Let things happen to the wallet, numbered."""
    return [
        services.publish_event(
            event_type=event_type, subject=f"wallet:{wallet.uuid}", data={"number": number}
        )
        for number in numbers
    ]


def relay() -> None:
    """Do once what the worker does every second."""
    services.fan_out_events()
    for destination_id in services.list_due_destinations():
        while services.deliver_events(destination_id):
            pass


def make_due() -> None:
    """Let all pauses and waiting times be over."""
    Destination.objects.update(retry_at="2020-01-01T00:00Z")
    Delivery.objects.update(next_attempt_at="2020-01-01T00:00Z")


class Receiver:
    """A webhook's other end. Keeps what came and answers as it is told."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.answer: Callable[[BaseHTTPRequestHandler, dict[str, Any]], int] | None = None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.judge(self, body)
                if status == 200:
                    receiver.received.append((dict(self.headers.items()), body))
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    def judge(self, handler: BaseHTTPRequestHandler, body: bytes) -> int:
        if self.statuses:
            return self.statuses.pop(0)
        return 200 if self.answer is None else self.answer(handler, json.loads(body))

    @property
    def numbers(self) -> list[int]:
        return [json.loads(body)["data"]["number"] for _, body in self.received]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def webhook(user: User, receiver: Receiver) -> Destination:
    """Alice's, at the receiver."""
    return services.create_webhook(user=user, url=receiver.url)[0]


def find_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come up"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """AWS as moto's server plays it."""
    port = find_port()
    url = f"http://127.0.0.1:{port}"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1"]
    process = subprocess.Popen(
        [*command, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def is_up() -> bool:
        try:
            return httpx.get(f"{url}/moto-api/", trust_env=False).status_code < 500
        except httpx.HTTPError:
            return False

    try:
        wait_until(is_up)
        yield url
    finally:
        process.terminate()
        process.wait(120)


class Bus:
    """An EventBridge bus with a rule that sends all of ours to a queue."""

    def __init__(self, url: str) -> None:
        names = {"endpoint_url": url, "region_name": "us-east-1"}
        events, self.sqs = boto3.client("events", **names), boto3.client("sqs", **names)
        events.create_event_bus(Name="wallet")
        self.queue = self.sqs.create_queue(QueueName="heard")["QueueUrl"]
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])
        pattern = json.dumps({"source": ["dj_wallet"]})
        events.put_rule(Name="ours", EventBusName="wallet", EventPattern=pattern, State="ENABLED")
        target = {"Id": "queue", "Arn": attributes["Attributes"]["QueueArn"]}
        events.put_targets(Rule="ours", EventBusName="wallet", Targets=[target])

    def hear(self) -> list[dict[str, Any]]:
        """Take what the queue holds."""
        heard: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                heard.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return heard


@pytest.fixture
def bus(moto_url: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Bus:
    """The bus that the service is pointed at."""
    httpx.post(f"{moto_url}/moto-api/reset", trust_env=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    settings.EVENT_SINKS = ["eventbridge"]
    settings.EVENTBRIDGE_URL = moto_url
    settings.EVENTBRIDGE_BUS = "wallet"
    return Bus(moto_url)


class Broker:
    """A RabbitMQ of our own, with its own port mapper, in its own folder."""

    def __init__(self, folder: Path) -> None:
        self.port = find_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self.mapper = find_port()
        plugins = folder / "plugins"
        plugins.write_text("[].\n")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(self.mapper),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_NODENAME": f"events{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(find_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1",
        }
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [str(RABBITMQ)],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self.answers)

    def answers(self) -> bool:
        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.connect()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait(120)

    def close(self) -> None:
        self.stop()
        epmd = shutil.which("epmd")
        assert epmd is not None
        subprocess.run([epmd, "-port", str(self.mapper), "-kill"], check=False, capture_output=True)


@pytest.fixture(scope="session")
def running_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if not RABBITMQ.exists():
        pytest.skip("needs RabbitMQ: apt install rabbitmq-server")
    broker = Broker(tmp_path_factory.mktemp("rabbitmq"))
    yield broker
    broker.close()


@pytest.fixture
def broker(running_broker: Broker, settings: Any) -> Broker:
    """The broker that the service is pointed at."""
    settings.EVENT_SINKS = ["rabbitmq"]
    settings.EVENTS_AMQP_URL = running_broker.url
    return running_broker
