"""Real connections: slow and silent clients, some that hang up, too many, and the end of it all."""

import contextlib
import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest
from made_runs import make_run
from test_service_over_http import Halves, load_model, photos

from pipeline.classifier.serving.app import Door, make_app
from pipeline.classifier.serving.connections import Connections, make_server
from pipeline.classifier.serving.current_model import CurrentModel
from pipeline.classifier.serving.listening import listen
from pipeline.classifier.serving.service import Service
from pipeline.images.decoding.read_images import Limits


class Listening:
    """A service that listens, and what it said."""

    def __init__(self, address, server, service, network):
        self.address, self.server, self.service, self.network = address, server, service, network
        self.lines: list[str] = []

    def ask(self, data: bytes, name: str = "/predict") -> tuple[int, object]:
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        connection.request("POST", name, data)
        response = connection.getresponse()
        found = response.status, json.loads(response.read())
        connection.close()
        return found

    def wait_for_line(self, words: str) -> str:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            for line in self.lines:
                if words in line:
                    return line
            time.sleep(0.02)
        raise AssertionError((words, self.lines))


@contextmanager
def listening(run, *, head_seconds=0.3, silent_seconds=0.3, most=50):
    network = Halves()
    service = Service(
        CurrentModel(run, lambda: load_model(run, network), print), Limits(), queue=64
    )
    with listen("127.0.0.1", 0) as listener:
        found = Listening(listener.getsockname()[:2], None, service, network)
        app = make_app(service, 2**20, 30.0, silent_seconds)
        connections = Connections(head_seconds, most)
        found.server = make_server(
            Door(app, service, connections, found.lines.append, found.lines.append), 5
        )
        service.begin()
        thread = threading.Thread(target=found.server.run, args=([listener],))
        thread.start()
        try:
            yield found
        finally:
            found.server.should_exit = True
            thread.join(20)
            service.end()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("served"), "run", ["blue", "green", "red"], 12)


@pytest.fixture(scope="module")
def service(run):
    with listening(run) as found:
        yield found


def read_all(client: socket.socket) -> bytes:
    client.settimeout(10)
    found = b""
    while part := client.recv(65536):
        found += part
    return found


def trickle(client: socket.socket, data: bytes, seconds: float = 0.1) -> bytes:
    """Sends a byte now and then until the other side has had enough; gives what it said."""
    for byte in data:
        try:
            client.sendall(bytes([byte]))
        except OSError:
            break
        client.settimeout(seconds)
        try:
            return client.recv(65536) + read_all(client)
        except TimeoutError:
            continue
    return read_all(client)


def test_a_head_that_comes_a_byte_at_a_time_is_cut_off(service):
    with socket.create_connection(service.address) as client:
        answer = trickle(client, b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"detail": "The head of the request comes too slowly."}' in answer


def test_a_body_that_comes_a_byte_at_a_time_is_cut_off(service):
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: 5000\r\n\r\n"
    with socket.create_connection(service.address) as client:
        client.sendall(head)
        answer = trickle(client, bytes(5000))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The request comes too slowly. Expected 16,384 bytes a second" in answer
    assert b"connection: close" in answer
    service.wait_for_line("POST /predict 408")


def pour(client: socket.socket, start: bytes, most: int = 2**23) -> bytes:
    """Sends one endless line until the other side has had enough; gives what it said."""
    client.settimeout(10)
    client.sendall(start)
    line, n_sent = bytes([65]) * 2**16, 0
    with contextlib.suppress(OSError):
        while n_sent < most:
            client.sendall(line)
            n_sent += len(line)
    assert n_sent < most, "all of it was taken"
    found = b""
    with contextlib.suppress(OSError):  # what was not read resets the connection
        found = read_all(client)
    return found


@pytest.mark.parametrize("name", ["head", "second head", "end of a body"])
def test_one_endless_line_is_cut_off(service, run, name):
    """Before its first request, behind one that is being answered, behind the last piece of one."""
    data = photos(run)[0].read_bytes()
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\n"
    whole = head + b"Content-Length: %d\r\n\r\n%b" % (len(data), data)
    pieces = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(data), data)
    start = {"head": head, "second head": whole + head, "end of a body": head + pieces}[name]
    service.network.seconds = 0.2
    with socket.create_connection(service.address) as client:
        answer = pour(client, start + b"X: ")
    service.network.seconds = 0.0
    assert answer == b"" or b"431 Refused" in answer
    assert service.ask(data)[0] == 200


def test_a_head_that_is_too_long_is_told_so(service):
    with socket.create_connection(service.address) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\nX: " + bytes([65]) * (2**16))
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"Expected at most 65,536 bytes." in answer


def test_a_connection_that_says_nothing_is_closed(service):
    with socket.create_connection(service.address) as client:
        assert read_all(client) == b""


def test_one_that_hangs_up_costs_nothing(service, run):
    head = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: 5000\r\n\r\n"
    for sent in (b"", b"POST", head, head + bytes(100)):
        with socket.create_connection(service.address) as client:
            client.sendall(sent)
    assert service.wait_for_line("POST /predict 499")
    assert service.ask(photos(run)[0].read_bytes())[0] == 200


def test_one_that_does_not_wait_for_its_answer_is_forgotten(service, run):
    data = photos(run)[0].read_bytes()
    service.network.seconds = 0.5
    head = f"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Length: {len(data)}\r\n\r\n"
    service.lines.clear()
    with socket.create_connection(service.address) as client:
        client.sendall(head.encode() + data)
        time.sleep(0.2)
    line = service.wait_for_line("POST /predict 499")
    service.network.seconds = 0.0
    assert "is gone" in line
    assert service.ask(data)[0] == 200
    until = time.monotonic() + 10
    while service.service.n_waiting and time.monotonic() < until:
        time.sleep(0.02)
    assert service.service.n_waiting == 0


def test_what_is_no_http_is_refused(service):
    with socket.create_connection(service.address) as client:
        client.sendall(b"\x16\x03\x01\x02\x00 hello\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 400 ")


def test_a_body_that_is_announced_as_too_large_gets_its_answer(service):
    connection = http.client.HTTPConnection(*service.address, timeout=20)
    connection.request("POST", "/predict", bytes(3 * 2**20))
    response = connection.getresponse()
    assert response.status == 413
    assert "Received: 3,145,728" in json.loads(response.read())["detail"]


def test_many_silent_connections_leave_room_for_one_that_asks(run):
    with listening(run, head_seconds=30.0, most=40) as service:
        silent = [socket.create_connection(service.address) for _ in range(38)]
        assert service.ask(photos(run)[0].read_bytes())[0] == 200
        silent += [socket.create_connection(service.address) for _ in range(4)]
        answer = read_all(silent[-1])
        assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in answer
        for client in silent:
            client.close()


def test_what_has_begun_is_finished_when_the_service_is_told_to_end(run):
    answers = []
    with listening(run) as service:
        service.network.seconds = 0.4
        data = photos(run)[0].read_bytes()
        asking = threading.Thread(target=lambda: answers.append(service.ask(data)))
        asking.start()
        time.sleep(0.2)
        service.server.should_exit = True
        asking.join(10)
    assert [status for status, _ in answers] == [200]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(service.address)


def test_a_line_a_request_on_one_line_whatever_is_asked_for(service):
    service.lines.clear()
    connection = http.client.HTTPConnection(*service.address, timeout=20)
    connection.request("GET", "/a%0Ab%1b[31m?x=1")
    assert connection.getresponse().status == 404
    line = service.wait_for_line("404")
    assert r"GET /a\nb\x1b[31m 404" in line
