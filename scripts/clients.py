#!/usr/bin/env python3
"""Real clients against `supernode up`: the openai package, schemathesis on the served OpenAPI document, a Prometheus parser.

    pip install openai schemathesis prometheus_client
    python3 scripts/clients.py target/release/supernode

Exit code 1 if anything does not hold. Everything runs on 127.0.0.1 and ends by itself.
"""
import json, os, subprocess, sys, tempfile, urllib.request

CLUSTER = ["--system", "h100-8", "--model", "meta-llama/Llama-3.1-8B", "--weight-dtype", "fp8", "--instances", "2"]


class Up:
    """A server, and where it listens."""

    def __init__(self, binary, *flags):
        own = ["--port", "0", "--admin-port", "0", "--metrics-port", "0", "--admin-token", "token", "--speed", "100"]
        self.process = subprocess.Popen([binary, "up", *CLUSTER, *own, *flags], stderr=subprocess.PIPE, text=True)
        self.at = {}
        for line in self.process.stderr:
            if "http://" in line:
                self.at[line.split()[0]] = [word.split("/")[2] for word in line.split() if word.startswith("http://")]
            if line.startswith("connections"):
                break
        self.main = "http://" + self.at["OpenAI"][0]
        self.admin = "http://" + self.at["console"][0]
        self.metrics = ["http://" + address + "/metrics" for address in self.at["metrics"]]

    def end(self):
        self.process.terminate()
        self.process.wait(30)


def clients(main):
    """What the openai package reads, whole and streamed."""
    import openai

    client = openai.OpenAI(base_url=main + "/v1", api_key="none")
    model = client.models.list().data[0].id
    messages = [{"role": "user", "content": "Say something."}]
    ask = dict(model=model, messages=messages, max_tokens=9, seed=3, extra_body={"ignore_eos": True})
    whole = client.chat.completions.create(**ask)
    assert whole.usage.completion_tokens == 9 and whole.choices[0].finish_reason == "length", whole
    pieces, usage = [], None
    for event in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
        pieces += [choice.delta.content or "" for choice in event.choices]
        usage = event.usage or usage
    assert "".join(pieces) == whole.choices[0].message.content and usage.completion_tokens == 9, pieces
    text = client.completions.create(model=model, prompt="go on", max_tokens=5, extra_body={"ignore_eos": True})
    assert text.usage.completion_tokens == 5, text
    assert len(client.embeddings.create(model=model, input="a word").data[0].embedding) > 8
    answer = client.responses.create(model=model, input="Say something.", max_output_tokens=7)
    assert answer.status in ("completed", "incomplete") and answer.output_text, answer
    kinds, told, last = [], "", None
    for event in client.responses.create(model=model, input="Say something.", max_output_tokens=7, stream=True):
        kinds.append(event.type)
        told += event.delta if event.type == "response.output_text.delta" else ""
        last = event
    assert kinds[0] == "response.created" and last.response.output_text == told, kinds
    assert last.response.usage.output_tokens == kinds.count("response.output_text.delta"), kinds
    try:
        client.chat.completions.create(model="no such", messages=messages)
        raise AssertionError("an unknown model was served")
    except openai.NotFoundError:
        pass
    print(f"openai {openai.__version__}: models, chat, completions, embeddings, responses, whole and streamed alike")


def limits(binary, folder):
    """A key's limits come back as headers, and as RateLimitError."""
    import openai

    made = subprocess.run([binary, "keys", "--tenant", "3"], capture_output=True, text=True, check=True)
    key = made.stderr.split()[-1]
    path = os.path.join(folder, "keys.toml")
    # A hundred times as fast, a rate of 0.01 per second is one per second of the wall clock.
    open(path, "w").write(made.stdout + "rate = 0.01\ntokens_per_minute = 6000\n")
    up = Up(binary, "--keys", path)
    try:
        client = openai.OpenAI(base_url=up.main + "/v1", api_key=key, max_retries=0)
        ask = dict(model=CLUSTER[3], prompt="go on", max_tokens=5)
        raw = client.completions.with_raw_response.create(**ask)
        assert raw.headers["x-ratelimit-limit-tokens"] == "6000", dict(raw.headers)
        assert 0 <= int(raw.headers["x-ratelimit-remaining-tokens"]) < 6000, dict(raw.headers)
        try:
            client.completions.create(**ask)
            client.completions.create(**ask)
            raise AssertionError("a rate was not held")
        except openai.RateLimitError as error:
            headers = error.response.headers
            assert int(headers["retry-after"]) >= 1 and headers["x-ratelimit-remaining-requests"] == "0", dict(headers)
    finally:
        up.end()
    print("limits of a key: x-ratelimit headers, 429 with Retry-After")


def prometheus(pages):
    """Every page parses; no family and no series is there twice."""
    from prometheus_client.parser import text_string_to_metric_families

    for page in pages:
        text = urllib.request.urlopen(page).read().decode()
        families = list(text_string_to_metric_families(text))
        names = [family.name for family in families]
        assert len(names) == len(set(names)), names
        for family in families:
            assert family.type != "unknown", family.name
            series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
            assert len(series) == len(set(series)), family.name
        print(f"{page}: {len(families)} families, {sum(len(family.samples) for family in families)} samples")


def schemathesis(main, examples):
    """The served document holds for what a fuzzer makes of it."""
    command = ["schemathesis", "run", main + "/openapi.json", "--max-examples", str(examples), "--phases", "coverage,fuzzing", "--seed", "7"]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
    if done.returncode != 0:
        done = subprocess.run([os.path.join(os.path.dirname(sys.executable), "schemathesis"), *command[1:]], capture_output=True, text=True)
    tail = "\n".join(done.stdout.splitlines()[-25:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    print(tail)


def jobs(admin):
    """Jobs over the administrator's port, and the stream of the state."""
    headers = {"Authorization": "Bearer token"}

    def call(path, body=None):
        data = json.dumps(body).encode() if body is not None else None
        return json.load(urllib.request.urlopen(urllib.request.Request(admin + path, data, headers)))

    assert call("/jobs")["over"] == 0
    stream = urllib.request.urlopen(urllib.request.Request(admin + "/state/stream", None, headers))
    first = json.loads(stream.readline()[6:])
    assert "layout" in first and "jobs" in first, list(first)
    stream.readline()
    assert "virtual_seconds" in json.loads(stream.readline()[6:])
    stream.close()
    print("the administrator's port: jobs, the state as a stream of merge patches")


def main():
    binary = sys.argv[1]
    examples = int(sys.argv[2]) if len(sys.argv) > 2 else 50
    up = Up(binary)
    try:
        clients(up.main)
        prometheus(up.metrics)
        jobs(up.admin)
        schemathesis(up.main, examples)
    finally:
        up.end()
    with tempfile.TemporaryDirectory() as folder:
        limits(binary, folder)


main()
