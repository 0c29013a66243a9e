"""Milliseconds and pictures a second of `eyesight serve` on loopback, against the obvious FastAPI handler around torch, in one run.

python benchmarks/serving.py RUN [--pictures 2000]

The client is one asyncio process with open connections; it shares the machine's cores with the server, as the numbers must say.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from eyesight import portable
from eyesight.data.prepare import encode_png
from eyesight.runs import Run
from eyesight.web import server

OBVIOUS = """
import io, sys
import torch, uvicorn
from fastapi import FastAPI, UploadFile
from pathlib import Path
from eyesight.classifier import load
model = load(Path(sys.argv[1]))
app = FastAPI()
@app.post("/api/predict")
async def predict(picture: UploadFile):
    pixels = torch.from_numpy(model.prepare(await picture.read()))[None]
    with torch.no_grad():
        sure = model.network(pixels).softmax(1)[0]
    best = sure.argsort(descending=True)[:5].tolist()
    return {"top": [{"class": model.classes[place], "probability": float(sure[place])} for place in best]}
print("listening on http://127.0.0.1:%s/" % sys.argv[2], flush=True)
uvicorn.run(app, port=int(sys.argv[2]), access_log=False, log_level="warning")
"""


def request(picture: bytes) -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    body = head + picture + b"\r\n--edge--\r\n"
    lines = (
        "POST /api/predict HTTP/1.1",
        "Host: localhost",
        "Content-Type: multipart/form-data; boundary=edge",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def client(port: int, requests: list[bytes], times: list[float]) -> None:
    """Send each request when the last is answered; seconds into `times`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for one in requests:
        began = time.perf_counter()
        writer.write(one)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(length)
        times.append(time.perf_counter() - began)
    writer.close()


async def measure(port: int, requests: list[bytes], clients: int) -> dict[str, float]:
    times: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(*(client(port, requests[number::clients], times) for number in range(clients)))
    seconds = time.perf_counter() - began
    cuts = statistics.quantiles(times, n=100)
    return {"clients": clients, "p50_ms": 1e3 * cuts[49], "p99_ms": 1e3 * cuts[98], "pictures_per_s": len(times) / seconds}


def judge(command: list[str], requests: list[bytes]) -> dict[str, object]:
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().strip().rstrip("/").rpartition(":")[2])
            asyncio.run(first(port, requests[0]))
            ready = time.perf_counter() - began
            asyncio.run(measure(port, requests[:200], 4))
            return {"ready_s": ready, "one": asyncio.run(measure(port, requests, 1)), "sixteen": asyncio.run(measure(port, requests, 16))}
        finally:
            process.kill()


async def first(port: int, one: bytes) -> None:
    for _ in range(600):
        try:
            await client(port, [one], [])
            return
        except OSError:
            await asyncio.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--pictures", type=int, default=2000)
    asked = parser.parse_args()
    run = Run.open(asked.run)
    file = server.exported(run)
    pixels = run.gallery()["samples_pixels"]
    requests = [request(encode_png(pixels[number % len(pixels)])) for number in range(asked.pictures)]
    served = judge([sys.executable, "-m", "eyesight", "serve", str(file), "--port", "0"], requests)
    obvious = judge([sys.executable, "-c", OBVIOUS, str(run.classifier_path), "8765"], requests)
    shape = list(portable.load(file).preparation.shape)
    print(json.dumps({"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "n": asked.pictures, "shape": shape,
                      "eyesight": served, "obvious": obvious}, indent=2))  # fmt: skip
    rates = [np.float64(one["sixteen"]["pictures_per_s"]) for one in (served, obvious)]  # type: ignore[index]
    print(f"{rates[0] / rates[1]:.1f} times the pictures a second")


if __name__ == "__main__":
    main()
