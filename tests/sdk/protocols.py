"""Real clients and servers of gRPC and WebSocket, on both sides of the gateway.

`protocols.py serve` prints the ports of its two servers and serves until its standard input ends.
`protocols.py call` reaches them through the gateway, whose address is GATEWAY (host:port).
"""

import asyncio
import os
import sys
import threading
import time
import traceback

import grpc
import websockets
from websockets.asyncio.server import serve as websocket_server

GATEWAY = os.environ.get("GATEWAY", "")
SERVICE = "/probe.Probe/"
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def same(left, right):
    assert left == right, f"{left!r} is not {right!r}"


# The servers


def unary(message, context):
    context.set_trailing_metadata((("x-said", "unary"), ("x-bytes-bin", b"\x00\xff")))
    return message * 2


def split(message, context):
    for byte in message:
        yield bytes([byte])


def join(messages, context):
    return b"".join(messages)


def echo(messages, context):
    context.send_initial_metadata((("x-first", "yes"),))
    yield from messages


def refuse(message, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: 100% ü")


def wait(message, context):
    gone = threading.Event()
    context.add_callback(gone.set)
    CANCELLED.append(gone)
    gone.wait(60)
    return b""


CANCELLED = []


def cancelled(message, context):
    """Whether the call to `wait` before this one has ended."""
    return b"yes" if CANCELLED and CANCELLED[-1].wait(30) else b"no"


async def chat(connection):
    async for message in connection:
        if message == "bye":
            await connection.close(4001, "as you wish")
        else:
            await connection.send(message)


def serve():
    from concurrent.futures import ThreadPoolExecutor

    kinds = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Split": grpc.unary_stream_rpc_method_handler(split),
        "Join": grpc.stream_unary_rpc_method_handler(join),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        "Wait": grpc.unary_unary_rpc_method_handler(wait),
        "Cancelled": grpc.unary_unary_rpc_method_handler(cancelled),
    }
    options = [("grpc.max_receive_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(32), options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("probe.Probe", kinds),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    async def run():
        async with websocket_server(chat, "127.0.0.1", 0, max_size=None) as sockets:
            print(port, sockets.sockets[0].getsockname()[1], flush=True)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(run())
    os._exit(0)


# The clients


def channel():
    options = [("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1)]
    return grpc.insecure_channel(GATEWAY, options=options)


@check
def a_unary_call_has_its_trailers():
    with channel() as calls:
        answer, call = calls.unary_unary(SERVICE + "Unary").with_call(b"ab", timeout=30)
        same(answer, b"abab")
        trailers = dict(call.trailing_metadata())
        same(trailers["x-said"], "unary")
        same(trailers["x-bytes-bin"], b"\x00\xff")
        same(call.code(), grpc.StatusCode.OK)


@check
def a_message_of_eight_megabytes_is_whole():
    with channel() as calls:
        message = bytes(range(256)) * (1 << 14)
        same(calls.unary_unary(SERVICE + "Unary")(message, timeout=60), message * 2)


@check
def an_empty_message_is_a_message():
    with channel() as calls:
        same(calls.unary_unary(SERVICE + "Unary")(b"", timeout=30), b"")


@check
def a_server_streams():
    with channel() as calls:
        pieces = list(calls.unary_stream(SERVICE + "Split")(b"stream", timeout=30))
        same(pieces, [b"s", b"t", b"r", b"e", b"a", b"m"])


@check
def a_client_streams():
    with channel() as calls:
        messages = (bytes([n]) for n in range(100))
        same(calls.stream_unary(SERVICE + "Join")(messages, timeout=30), bytes(range(100)))


@check
def both_stream_and_wait_for_each_other():
    with channel() as calls:
        heard = threading.Semaphore(1)

        def questions():
            for n in range(50):
                assert heard.acquire(timeout=30)
                yield bytes([n])

        call = calls.stream_stream(SERVICE + "Echo")(questions(), timeout=60)
        same(dict(call.initial_metadata())["x-first"], "yes")
        for n, answer in enumerate(call):
            same(answer, bytes([n]))
            heard.release()
        same(call.code(), grpc.StatusCode.OK)


def failure(call):
    try:
        answer = call()
    except grpc.RpcError as error:
        return error
    raise AssertionError(f"no error but {answer!r}")


@check
def a_status_of_the_server_arrives_with_its_message():
    with channel() as calls:
        error = failure(lambda: calls.unary_unary(SERVICE + "Refuse")(b"", timeout=30))
        same(error.code(), grpc.StatusCode.FAILED_PRECONDITION)
        same(error.details(), "not now: 100% ü")


@check
def a_method_that_is_not_there_is_unimplemented():
    with channel() as calls:
        error = failure(lambda: calls.unary_unary(SERVICE + "Nothing")(b"", timeout=30))
        same(error.code(), grpc.StatusCode.UNIMPLEMENTED)


@check
def a_deadline_ends_the_call_on_both_sides():
    with channel() as calls:
        error = failure(lambda: calls.unary_unary(SERVICE + "Wait")(b"", timeout=0.5))
        same(error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
        same(calls.unary_unary(SERVICE + "Cancelled")(b"", timeout=30), b"yes")


@check
def a_call_that_is_cancelled_ends_at_the_server():
    with channel() as calls:
        call = calls.unary_unary(SERVICE + "Wait").future(b"", timeout=60)
        time.sleep(0.3)
        call.cancel()
        same(call.code(), grpc.StatusCode.CANCELLED)
        same(calls.unary_unary(SERVICE + "Cancelled")(b"", timeout=30), b"yes")


@check
def who_has_no_key_is_unauthenticated():
    with channel() as calls:
        error = failure(lambda: calls.unary_unary("/keyed.Keyed/Unary")(b"", timeout=30))
        same(error.code(), grpc.StatusCode.UNAUTHENTICATED)
        same(error.details(), "Unauthenticated")


@check
def what_no_route_knows_is_not_found():
    with channel() as calls:
        error = failure(lambda: calls.unary_unary("/other.Other/Unary")(b"", timeout=30))
        same(error.code(), grpc.StatusCode.NOT_FOUND)


@check
def an_upstream_that_is_down_is_told_in_words():
    with channel() as calls:
        error = failure(lambda: calls.unary_unary("/down.Down/Unary")(b"", timeout=30))
        same(error.code(), grpc.StatusCode.INTERNAL)
        same(error.details(), "An invalid response was received from the upstream server")


def socket(**more):
    return websockets.connect(f"ws://{GATEWAY}/chat", max_size=None, proxy=None, **more)


@check
def text_and_bytes_come_back_as_they_were():
    async def run():
        async with socket() as connection:
            for message in ["hello ü", b"\x00\xff" * 3, "", "x" * (3 << 20)]:
                await connection.send(message)
                same(await connection.recv(), message)

    asyncio.run(run())


@check
def a_ping_is_answered_by_the_server():
    async def run():
        async with socket() as connection:
            await asyncio.wait_for(await connection.ping(b"are you there"), 30)

    asyncio.run(run())


@check
def a_close_carries_its_code_and_reason():
    async def run():
        async with socket() as connection:
            await connection.send("bye")
            try:
                await connection.recv()
            except websockets.ConnectionClosed as closed:
                same((closed.rcvd.code, closed.rcvd.reason), (4001, "as you wish"))
            else:
                raise AssertionError("it is still open")

    asyncio.run(run())


@check
def many_sockets_live_beside_each_other():
    async def one(n):
        async with socket() as connection:
            for turn in range(10):
                await connection.send(f"{n} {turn}")
                same(await connection.recv(), f"{n} {turn}")

    async def run():
        await asyncio.gather(*[one(n) for n in range(50)])

    asyncio.run(run())


def call():
    failed = 0
    for function in CHECKS:
        try:
            function()
            print(f"ok {function.__name__}")
        except Exception:
            failed += 1
            print(f"FAILED {function.__name__}\n{traceback.format_exc()}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    serve() if sys.argv[1] == "serve" else call()
