#!/usr/bin/env python3
"""Long tests of `supernode up`: kill -9 under load, many streams, real clients, KV events.

    cargo build --release -p supernode
    pip install openai pyzmq msgpack
    python3 scripts/live.py target/release/supernode --kills 50 --streams 19000 --agreements 200 --soak 1800

Every answer that is counted is checked. Exit code 1 if anything does not hold. Everything runs on 127.0.0.1 and ends by itself.
"""
import argparse, asyncio, json, os, random, signal, sqlite3, subprocess, sys, tempfile, time

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


async def command(address, body):
    """A command to the administrator's port; its status."""
    reader, writer = await asyncio.open_connection(*address.split(":"))
    text = json.dumps(body)
    writer.write(f"POST /command HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer token\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split()[1])


def order(draw):
    """A random command: something breaks or is mended, or an operator changes something, jobs among it."""
    chip, job = {"chip": draw.randrange(8)}, draw.randrange(12)
    return draw.choice([
        {"kill": chip}, {"heal": chip}, {"heal": {"node": 0}}, {"kill": {"link": draw.randrange(8)}}, {"heal": {"link": draw.randrange(8)}},
        {"scale": {"pool": 0, "instances": draw.randrange(4, 9)}}, {"policy": {"pool": 0, "router": draw.choice(["round-robin", "least-tokens"])}},
        {"latency": {"deployment": 0, "seconds": draw.choice([0.0, 0.01])}},
        {"submit_job": {"chips": draw.randrange(1, 5), "duration": f"{draw.randrange(1, 40)} s", "checkpoint_write": "1 s"}},
        {"preempt_job": job}, {"hold_job": job}, {"release_job": job}, {"cancel_job": job},
    ])


def agreements(binary, count):
    """Live runs under random load and commands, each decided again from its log."""
    bad = answers = 0
    for number in range(count):
        draw = random.Random(number)
        with tempfile.TemporaryDirectory() as folder:
            up, seen = Up(binary, folder, "--speed", str(draw.choice([1, 10, 100]))), []

            async def run():
                stop = asyncio.Event()
                clients = [asyncio.create_task(load(up.at["OpenAI"], seen, stop, client)) for client in range(draw.randrange(2, 24))]
                for _ in range(6):
                    await asyncio.sleep(0.1)
                    await command(up.at["console"], order(draw))
                await command(up.at["console"], {"heal": {"node": 0}})
                stop.set()
                await asyncio.gather(*clients, return_exceptions=True)

            asyncio.run(run())
            up.process.send_signal(signal.SIGTERM)
            hash = next((line.split()[1] for line in up.process.stderr if line.startswith("decisions")), "none")
            up.process.wait()
            replay = subprocess.run([binary, "replay", up.log, "--json"], capture_output=True, text=True)
            found = json.loads(replay.stdout) if replay.returncode == 0 else {"hash": replay.stderr.strip(), "agrees": False}
            answers += len(seen)
            if found["hash"] != hash or not found["agrees"]:
                bad += 1
                print(f"run {number}: live {hash}, replay {found['hash']}")
    print(f"agreement: {count - bad} of {count} runs decide alike, {answers} answers")
    return bad == 0


def soak(binary, seconds):
    """Load with random faults for a long time: memory stays, no answer is lost or doubled, the replay agrees."""
    with tempfile.TemporaryDirectory() as folder:
        up, seen, draw, sizes = Up(binary, folder, "--speed", "10"), [], random.Random(1), []
        rss = lambda: int(next(line for line in open(f"/proc/{up.process.pid}/status") if line.startswith("VmRSS")).split()[1])

        async def run():
            stop, began = asyncio.Event(), time.time()
            clients = [asyncio.create_task(load(up.at["OpenAI"], seen, stop, client)) for client in range(16)]
            while time.time() - began < seconds:
                await asyncio.sleep(1)
                await command(up.at["console"], order(draw))
                if draw.random() < 0.3:
                    await command(up.at["console"], {"heal": {"node": 0}})
                sizes.append(rss())
            await command(up.at["console"], {"heal": {"node": 0}})
            stop.set()
            await asyncio.gather(*clients, return_exceptions=True)

        asyncio.run(run())
        up.process.send_signal(signal.SIGTERM)
        hash = next((line.split()[1] for line in up.process.stderr if line.startswith("decisions")), "none")
        up.process.wait()
        rows = [row[0] for row in sqlite3.connect(up.ledger).execute("SELECT id FROM requests")]
        missing = {one.split("-")[1] for one in seen} - set(rows)
        replay = subprocess.run([binary, "replay", up.log, "--json"], capture_output=True, text=True)
        agrees = replay.returncode == 0 and json.loads(replay.stdout)["hash"] == hash
        quarter = max(1, len(sizes) // 4)
        early, late = sum(sizes[quarter : 2 * quarter]) / quarter, sum(sizes[-quarter:]) / quarter
        print(f"soak: {seconds} s, {len(seen)} answers checked, {len(missing)} not in the ledger, {len(rows) - len(set(rows))} twice, memory {early / 1024:.1f} MB then {late / 1024:.1f} MB, replay {'agrees' if agrees else 'DIFFERS: ' + replay.stderr}")
        return not missing and len(rows) == len(set(rows)) and agrees


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
    parser.add_argument("--agreements", type=int, default=5)
    parser.add_argument("--soak", type=int, default=20, help="seconds")
    flags = parser.parse_args()
    done = [clients(flags.binary), kills(flags.binary, flags.kills), agreements(flags.binary, flags.agreements)]
    done += [soak(flags.binary, flags.soak), streams(flags.binary, flags.streams)]
    sys.exit(0 if all(done) else 1)


main()
