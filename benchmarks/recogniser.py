"""How often `eyesight predict MODEL --only dogs` names a breed, upright and turned by EXIF, and how
often it doubts what is no dog.

    python benchmarks/recogniser.py DOGS                       photographs in the folders of
        Stanford Dogs (n02085620-Chihuahua …)
    python benchmarks/recogniser.py DOGS --others PICTURES     and pictures that show no dogs, in
        folders

Breeds that ImageNet's 118 do not hold are left out. ImageNet holds Stanford Dogs' pictures, so the
figures are optimistic.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from eyesight.inference.pretrained import ELSE
from eyesight.models.backbone import ONLY
from eyesight.models.pretrained import imagenet_places

ORIENTATION, TURNED = 0x0112, 6  # the EXIF field, and "turn me by a quarter to the right"
SUFFIXES = (".jpg", ".jpeg", ".png")


def chosen(folder, count):
    """`count` files, evenly spread over everything below a folder."""
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    return files[:: max(1, len(files) // count)][:count]


def breeds(folder):
    """Class folders of breeds that ImageNet has, with their place among its thousand."""
    folders = sorted(each for each in folder.rglob("n0*") if each.is_dir())
    places = imagenet_places([each.name for each in folders])
    return {folders[here]: there for here, there in places.items() if there in ONLY["dogs"]}


def turned(file, folder):
    """A copy whose pixels lie on their side and whose EXIF data say so."""
    picture = Image.open(file).convert("RGB").transpose(Image.Transpose.ROTATE_90)
    exif = picture.getexif()
    exif[ORIENTATION] = TURNED
    target = folder / f"{file.parent.name}-{file.stem}.jpg"
    picture.save(target, exif=exif, quality=95)
    return target


def asked(model, files):
    """What the command line says of the files: a list of (name, probability) each."""
    command = [
        sys.executable,
        "-m",
        "eyesight",
        "predict",
        model,
        *map(str, files),
        "--only",
        "dogs",
        "--top",
        "5",
        "--json",
    ]
    result = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    return [
        [(one["class"], one["probability"]) for one in answer["top"]]
        for answer in result["predictions"]
    ]


def judged(answers, places):
    """How many were right at once, had their breed among five, and were more than half
    "something else"."""
    names = [[imagenet_places([name]).get(0) for name, _ in top] for top in answers]
    first = sum(top[0] == place for top, place in zip(names, places, strict=True))
    five = sum(place in top for top, place in zip(names, places, strict=True))
    return {"n": len(answers), "first": first, "five": five, "perhaps_no_dog": doubted(answers)}


def doubted(answers):
    return sum(name == ELSE and sure > 0.5 for top in answers for name, sure in top[:1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dogs", type=Path)
    parser.add_argument("--others", type=Path)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    given = parser.parse_args()
    result = breeds(given.dogs)
    each = -(-given.count // len(result))
    files = [file for folder in result for file in chosen(folder, each)][: given.count]
    places = [result[file.parent] for file in files]
    print(len(result), "breeds; upright", judged(asked(given.model, files), places), flush=True)
    with tempfile.TemporaryDirectory() as name:
        copies = [turned(file, Path(name)) for file in files]
        print("turned", judged(asked(given.model, copies), places), flush=True)
    if given.others:
        answers = asked(given.model, chosen(given.others, given.count))
        print("others", {"n": len(answers), "perhaps_no_dog": doubted(answers)})


if __name__ == "__main__":
    main()
