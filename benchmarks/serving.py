"""Milliseconds and pictures a second of `eyesight serve` on loopback, against the obvious FastAPI
handler around torch, in one run.

python benchmarks/serving.py RUN [--pictures 1000] [--rounds 5]

All servers give the classifier's own answer (for `digits` the average over five shifted views);
"once" leaves the views out. They take
turns, so that whatever else the machine does hits all of them. The client is one asyncio process on
the same cores.
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
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from eyesight.data.prepare import encode_png
from eyesight.exporting.onnx_file import exported
from eyesight.inference import onnx_classifier
from eyesight.runs import Run
from eyesight.system.memory import cores

RESULTS = Path(__file__).parent / "results" / "serving.json"
TOGETHER = 16  # clients, and pictures in a form of several
OBVIOUS = """
import dataclasses, sys
import torch, uvicorn
from fastapi import FastAPI, UploadFile
from pathlib import Path
from eyesight.classifier import load
model = load(Path(sys.argv[1]))
if sys.argv[3] == "once":
    model = dataclasses.replace(model, views="one")
app = FastAPI()
@app.post("/api/predict")
async def predict(picture: UploadFile):
    pixels = model.prepare(await picture.read())[None]
    with torch.no_grad():
        sure = model.probabilities(pixels)[0]
    best = (-sure).argsort()[:5].tolist()
    top = [{"class": model.classes[place], "probability": float(sure[place])} for place in best]
    return {"top": top}
uvicorn.run(app, port=int(sys.argv[2]), access_log=False, log_level="warning")
"""
Figures = dict[str, float]


def request(pictures: list[bytes], path: str = "/api/predict") -> bytes:
    head = (
        b'--edge\r\nContent-Disposition: form-data; name="picture"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n"
    )
    body = b"".join(head + picture + b"\r\n" for picture in pictures) + b"--edge--\r\n"
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: multipart/form-data; boundary=edge",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def client(port: int, requests: list[bytes], times: list[float]) -> list[Any]:
    """Send each request when the last is answered; seconds into `times`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for one in requests:
        began = time.perf_counter()
        writer.write(one)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        answers.append(await reader.readexactly(length))
        times.append(time.perf_counter() - began)
    writer.close()
    return answers


async def measure(
    process: subprocess.Popen[bytes], port: int, requests: list[bytes], clients: int, each: int = 1
) -> Figures:
    times: list[float] = []
    began, spent = time.perf_counter(), processor_seconds(process)
    await asyncio.gather(
        *(client(port, requests[number::clients], times) for number in range(clients))
    )
    seconds, n = time.perf_counter() - began, len(times) * each
    cuts = statistics.quantiles(times, n=100)
    spent = (processor_seconds(process) - spent) / n
    return {
        "p50_ms": 1e3 * cuts[49],
        "p99_ms": 1e3 * cuts[98],
        "pictures_per_s": n / seconds,
        "processor_ms": 1e3 * spent,
    }


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """What a process has used so far, all threads; 0 where the system does not say."""
    file = Path(f"/proc/{process.pid}/stat")
    if not file.is_file():
        return 0.0
    fields = file.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def started(command: list[str], port: int) -> tuple[subprocess.Popen[bytes], Figures]:
    """A server that has shown its first page (any answer counts), and the seconds until it
    listened and until that."""
    began = time.perf_counter()
    process = subprocess.Popen(command)
    listened = 0.0
    while True:
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{port}/openapi.json"
                if not listened
                else f"http://127.0.0.1:{port}/"
            ) as answer:
                answer.read()
        except urllib.error.HTTPError:
            pass
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.01)
            continue
        if listened:
            return process, {"ready_s": listened, "first_page_s": time.perf_counter() - began}
        listened = time.perf_counter() - began


def middle(rounds: list[Figures]) -> Figures:
    return {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}


def judge(
    commands: dict[str, tuple[list[str], int]], pictures: list[bytes], rounds: int
) -> dict[str, Any]:
    """Every server's figures of every round, in turns."""
    alive = {name: (*started(*command), command[1]) for name, command in commands.items()}
    one = [request([picture]) for picture in pictures]
    several = [
        request(pictures[start : start + TOGETHER], "/api/predict/many")
        for start in range(0, len(pictures), TOGETHER)
    ]
    result: dict[str, Any] = {
        name: {"start": start, "one": [], "sixteen": []} for name, (_, start, _) in alive.items()
    }
    try:
        output = {
            name: asyncio.run(client(port, one[:50], [])) for name, (_, _, port) in alive.items()
        }
        for _ in range(rounds):
            for name, (process, _, port) in alive.items():
                result[name]["one"].append(
                    asyncio.run(measure(process, port, one[: len(one) // 4], 1))
                )
                result[name]["sixteen"].append(asyncio.run(measure(process, port, one, TOGETHER)))
                if name == "eyesight":
                    many = asyncio.run(
                        measure(process, port, several, min(TOGETHER, len(several) // 4), TOGETHER)
                    )
                    result[name].setdefault("forms_of_sixteen", []).append(many)
    finally:
        for process, _, _ in alive.values():
            process.kill()
            process.wait()
    check_same(output["eyesight"], output["obvious"])
    return result


def check_same(ours: list[bytes], theirs: list[bytes]) -> None:
    """Only the same work can be compared."""
    for one, other in zip(ours, theirs, strict=True):
        first, second = json.loads(one)["top"][0], json.loads(other)["top"][0]
        assert (
            first["class"] == second["class"]
            and abs(first["probability"] - second["probability"]) < 1e-3
        ), (first, second)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    run = Run.open(asked.run)
    file = exported(run)
    pixels = run.gallery()["samples_pixels"]
    pictures = [encode_png(pixels[number % len(pixels)]) for number in range(asked.pictures)]
    obvious = [sys.executable, "-c", OBVIOUS, str(run.classifier_path)]
    result = judge(
        {
            "eyesight": (
                [sys.executable, "-m", "eyesight", "serve", str(file), "--port", "8764"],
                8764,
            ),
            "obvious": ([*obvious, "8765", "same"], 8765),
            "obvious, once": ([*obvious, "8766", "once"], 8766),
        },
        pictures,
        asked.rounds,
    )
    ratios = {
        other: [
            mine["pictures_per_s"] / its["pictures_per_s"]
            for mine, its in zip(
                result["eyesight"]["sixteen"], result[other]["sixteen"], strict=True
            )
        ]
        for other in ("obvious", "obvious, once")
    }
    machine = {
        "machine": platform.processor() or platform.machine(),
        "cores": cores(),
        "python": platform.python_version(),
    }
    shape = list(onnx_classifier.load(file).preparation.shape)
    values = {
        **machine,
        "run": run.name,
        "shape": shape,
        "pictures": asked.pictures,
        "ratios": ratios,
        "rounds": result,
    }
    RESULTS.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    show(result, ratios)


def show(result: dict[str, Any], ratios: dict[str, list[float]]) -> None:
    print(
        "| server | clients | p50 | p99 | pictures/s | processor time a picture "
        "|\n|---|---|---|---|---|---|"
    )
    for name, figures in result.items():
        for kind, clients in (
            ("one", "1"),
            ("sixteen", str(TOGETHER)),
            ("forms_of_sixteen", f"{TOGETHER} pictures a form"),
        ):
            if kind in figures:
                row = middle(figures[kind])
                print(
                    f"| {name} | {clients} | {row['p50_ms']:.1f} ms | {row['p99_ms']:.1f} ms "
                    f"| {row['pictures_per_s']:.0f} ",
                    end="",
                )
                print(f"| {row['processor_ms']:.2f} ms |")
    for other, each in ratios.items():
        print(
            f"{statistics.median(each):.1f} times ({min(each):.1f} to {max(each):.1f}) the "
            f"pictures a second of the {other} handler"
        )
    start = result["eyesight"]["start"]
    print(
        f"listening {start['ready_s']:.2f} s after the start, first page after "
        f"{start['first_page_s']:.2f} s"
    )


if __name__ == "__main__":
    main()
