#!/usr/bin/env python3
"""Long tests of `supernode up`: kill -9 under load, many streams, real clients, KV events.

    cargo build --release -p supernode
    pip install openai pyzmq msgpack
    python3 scripts/live.py target/release/supernode --kills 50 --streams 19000

Every answer that is counted is checked. Exit code 1 if anything does not hold. Everything runs on 127.0.0.1 and ends by itself.
"""
import argparse, asyncio, json, os, signal, sqlite3, subprocess, sys, tempfile, time

CLUSTER = ["--system", "h100-8", "--model", "meta-llama/Llama-3.1-8B", "--weight-dtype", "fp8", "--instances", "8"]


class Up:
    def __init__(self, binary, folder, *flags):
        self.log, self.ledger = os.path.join(folder, "input.log"), os.path.join(folder, "ledger.db")
        own = ["--port", "0", "--admin-port", "0", "--metrics-port", "0", "--admin-token", "token", "--log", self.log]
        self.process = subprocess.Popen([binary, "up", *CLUSTER, *own, "--ledger", self.ledger, *flags], stderr=subprocess.PIPE, text=True)
        self.at = {}
        for line in self.process.stderr:
            if "http://" in line or "tcp://" in line:
                self.at[line.split()[0]] = line.split("://")[1].split("/")[0].split()[0]
            if line.startswith("connections"):
                break

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()


async def call(address, body, seen):
    """One completion; its id is put down in `seen` once the client has its end."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    text = json.dumps(body)
    writer.write(f"POST /v1/completions HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
    answer = (await reader.read()).decode()
    writer.close()
    if not answer.startswith("HTTP/1.1 200"):
        return False
    if body.get("stream"):
        if "data: [DONE]" not in answer:
            return False
        first = next(line for line in answer.splitlines() if line.startswith("data: {"))
        seen.append(json.loads(first[6:])["id"])
        return answer.count('"finish_reason":null') == body["max_tokens"]
    try:
        document = json.loads(answer.split("\r\n\r\n", 1)[1])
    except (IndexError, ValueError):
        return False
    seen.append(document["id"])
    return document["usage"]["completion_tokens"] == body["max_tokens"]


async def load(address, seen, stop, number):
    turn = 0
    while not stop.is_set():
        turn += 1
        body = {"prompt": f"client {number} turn {turn} " * (1 + turn % 20), "max_tokens": 1 + (number * 7 + turn) % 30, "ignore_eos": True, "stream": turn % 2 == 0}
        try:
            await call(address, body, seen)
        except OSError:
            return


def kills(binary, count):
    bad = total = 0
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            up, seen = Up(binary, folder, "--speed", "20"), []

            async def run():
                stop = asyncio.Event()
                clients = [asyncio.create_task(load(up.at["OpenAI"], seen, stop, client)) for client in range(32)]
                await asyncio.sleep(0.5 + 0.02 * number)
                up.kill()
                stop.set()
                await asyncio.gather(*clients, return_exceptions=True)

            asyncio.run(run())
            rows = [row[0] for row in sqlite3.connect(up.ledger).execute("SELECT id FROM requests")]
            missing = {one.split("-")[1] for one in seen} - set(rows)
            replay = subprocess.run([binary, "replay", up.log, "--json"], capture_output=True, text=True)
            agrees = replay.returncode == 0 and json.loads(replay.stdout)["agrees"]
            total += len(seen)
            if missing or len(rows) != len(set(rows)) or not agrees:
                bad += 1
                print(f"kill {number}: {len(missing)} answers are not in the ledger, replay: {replay.stderr.strip() or agrees}")
    print(f"kills: {count} under load, {total} ended answers checked, {bad} kills with a fault")
    return bad == 0


def streams(binary, count):
    with tempfile.TemporaryDirectory() as folder:
        up, seen = Up(binary, folder, "--speed", "1"), []
        rss = lambda: int(next(line for line in open(f"/proc/{up.process.pid}/status") if line.startswith("VmRSS")).split()[1])
        before = rss()

        async def run():
            body = {"prompt": "one two three", "max_tokens": 200, "ignore_eos": True, "stream": True}
            calls = [asyncio.create_task(call(up.at["OpenAI"], body, seen)) for _ in range(count)]
            await asyncio.sleep(5)
            return rss(), await asyncio.gather(*calls, return_exceptions=True)

        during, results = asyncio.run(run())
        up.kill(signal.SIGTERM)
        good = sum(result is True for result in results)
        print(f"streams: {good} of {count} whole; {(during - before) / count:.1f} kB each, idle {before / 1024:.0f} MB")
        return good == count


def clients(binary):
    with tempfile.TemporaryDirectory() as folder:
        up = Up(binary, folder, "--speed", "10", "--kv-events", "0")
        try:
            import openai, zmq, msgpack
            client = openai.OpenAI(base_url=f"http://{up.at['OpenAI']}/v1", api_key="none")
            model = client.models.list().data[0].id
            socket = zmq.Context().socket(zmq.SUB)
            socket.setsockopt(zmq.SUBSCRIBE, b"kv@")
            socket.setsockopt(zmq.RCVTIMEO, 5000)
            socket.connect(f"tcp://{up.at['KV']}")
            time.sleep(0.5)
            messages = [{"role": "user", "content": "tell me " * 100}]
            whole = client.chat.completions.create(model=model, messages=messages, max_tokens=16, seed=1, extra_body={"ignore_eos": True})
            parts = client.chat.completions.create(model=model, messages=messages, max_tokens=16, seed=1, stream=True, stream_options={"include_usage": True}, extra_body={"ignore_eos": True})
            parts = list(parts)
            told = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
            ok = told == whole.choices[0].message.content and parts[-1].usage.completion_tokens == 16
            ok &= len(client.embeddings.create(model=model, input="a").data[0].embedding) == 1024
            ok &= client.responses.create(model=model, input="hello", max_output_tokens=4).usage.output_tokens <= 4
            try:
                client.chat.completions.create(model="other", messages=messages)
                ok = False
            except openai.NotFoundError:
                pass
            topic, number, payload = socket.recv_multipart()
            at, events, rank = msgpack.unpackb(payload)
            ok &= int.from_bytes(number, "big") == 0 and events[0][0] == "BlockStored" and rank == 0
            print(f"clients: openai {openai.__version__} and ZeroMQ {'agree' if ok else 'DISAGREE'}; {len(events)} blocks in the first event on {topic.decode()}")
            return ok
        finally:
            up.kill(signal.SIGTERM)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--streams", type=int, default=1000)
    flags = parser.parse_args()
    done = [clients(flags.binary), kills(flags.binary, flags.kills), streams(flags.binary, flags.streams)]
    sys.exit(0 if all(done) else 1)


main()
