#!/usr/bin/env python3
"""Makes a pictures folder and LLaVA conversation JSON of a data set that comes as Parquet files with the pictures inside.

    python tools/recap_to_llava.py LLaVA-ReCap-118K/data --out DATA/recap-118k
    python tools/recap_to_llava.py LLaVA-ReCap-558K/data --out DATA/recap-558k
    python tools/recap_to_llava.py LLaVA-NeXT-Data/data  --out DATA/next-790k

These are the three sets of recipes/paper.yaml, as the hub has them: one row a sample, with the columns
    id             text or a number
    image          struct<bytes, path>, the picture as a JPEG, PNG or WebP file; null where a sample has none
    conversations  list<struct<from, value>>, "human" and "gpt" in turn
    data_source    text; not every set has it

Written below --out:
    conversations.json   one JSON array, a record a line: {"id", "image", "conversations", "data_source"}; "image" is missing
                         where there is no picture
    images/ab/ab...jpg   the bytes as they came, named by the SHA-256 of them, in 256 folders: a picture that several rows hold
                         is kept once

conversations.json appears when all is converted; until then it is called conversations.json.part. Stopped, the same command
begins again but does not write pictures twice. Memory stays at some hundred MB.

Rows that `ocellus train` would refuse are left out, counted, and the first of them named: no human turn with an answer, turns out
of order, bytes that are no picture, another number of "<image>" than pictures, a first question that points at a picture
(begins or ends with "<image>") where there is none. More than --max-bad of them are an error. A picture without "<image>" is
kept and counted; such a set needs fix_placeholders: true in its recipe.

Needs pyarrow (pip install pyarrow).
"""
import argparse
import hashlib
import json
import os
import pathlib
import sys
import time

BATCH = 64  # rows in memory at a time
NAMED = 10  # bad rows that are named


class BadRow(Exception):
    """A row that cannot become a record; the message says why."""


def extension(data):
    """The name's ending for the bytes of a picture, told by how they begin."""
    if data[:3] == b"\xff\xd8\xff":
        return "jpg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    raise BadRow("the picture is neither JPEG nor PNG nor WebP")


def write_picture(folder, data):
    """Puts the bytes below folder and returns the file's name there, "ab/ab....jpg"."""
    name = hashlib.sha256(data).hexdigest()[:32]
    name = f"{name[:2]}/{name}.{extension(data)}"
    path = folder / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(data)
        part.replace(path)  # a picture is there whole or not at all
    return name


def check_turns(turns):
    """The conversation without assistant turns at its start, or BadRow: the rules of src/data/llava.c."""
    turns = [{"from": t["from"], "value": t["value"]} for t in turns or [] if t]
    for t in turns:
        if t["from"] not in ("human", "gpt", "system") or not isinstance(t["value"], str):
            raise BadRow(f'a turn is from {t["from"]!r}, which is none of human, gpt, system, or has no text')
    system = turns[:1] if turns and turns[0]["from"] == "system" else []
    turns = turns[len(system):]
    while turns and turns[0]["from"] == "gpt":
        turns = turns[1:]
    if len(turns) < 2:
        raise BadRow("no human turn with an answer")
    if len(turns) % 2 or any(t["from"] != ("human", "gpt")[i % 2] for i, t in enumerate(turns)):
        raise BadRow("human and gpt do not take turns, ending with gpt")
    return system + turns


def record_of(row, images):
    """The LLaVA record of a row, its picture written, and whether it has a picture but no "<image>"."""
    turns = check_turns(row["conversations"])
    questions = [t["value"] for t in turns if t["from"] == "human"]
    marks = sum(q.count("<image>") for q in questions)
    picture = row.get("image") or {}
    record = {} if row.get("id") is None else {"id": row["id"]}
    if picture.get("bytes"):
        if marks > 1:
            raise BadRow(f'{marks} times "<image>" for one picture')
        record["image"] = write_picture(images, picture["bytes"])
    elif picture.get("path"):
        raise BadRow(f'names the picture {picture["path"]} but does not hold it')
    elif questions[0].strip().startswith("<image>") or questions[0].strip().endswith("<image>"):
        raise BadRow("the question points at a picture, but there is none")
    record["conversations"] = turns
    if row.get("data_source") is not None:
        record["data_source"] = row["data_source"]
    return record, "image" in record and not marks


def parquet_files(inputs):
    files = []
    for name in inputs:
        path = pathlib.Path(name)
        found = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not path.exists():
            sys.exit(f"{path}: there is no such file or folder")
        if not found:
            sys.exit(f"{path}: there are no *.parquet files in this folder; a set's are in its folder data/")
        files += found
    return files


def open_parquet(pq, path):
    """The file, its columns checked."""
    try:
        f = pq.ParquetFile(path)
    except Exception as e:  # pyarrow has an exception for each kind of damage, and OSError
        sys.exit(f"{path}: not a Parquet file that can be read ({str(e).splitlines()[0]}); get it again")
    columns = f.schema_arrow.names
    if "conversations" not in columns:
        sys.exit(f"{path}: there is no column conversations among {', '.join(columns)}")
    kind = str(f.schema_arrow.field("conversations").type)
    if not kind.startswith("list<") or "from: " not in kind or "value: " not in kind:
        sys.exit(f"{path}: the column conversations is {kind}, not list<struct<from, value>>")
    if "image" in columns and "bytes: " not in str(f.schema_arrow.field("image").type):
        sys.exit(f'{path}: the column image is {f.schema_arrow.field("image").type}, not struct<bytes, path>')
    return f, [c for c in ("id", "image", "conversations", "data_source") if c in columns]


def show(done, total, begun, end):
    left = (time.time() - begun) * (total - done) / max(done, 1)
    print(f"\r{done:,} of {total:,} rows, {int(left) // 60}:{int(left) % 60:02} left  ", end=end, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("inputs", nargs="+", metavar="PARQUET", help="Parquet files, or folders of them, in this order")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for conversations.json and images/")
    parser.add_argument("--max-bad", type=int, default=100, metavar="N", help="rows that may be left out (default 100)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    args = parser.parse_args()
    try:
        import pyarrow.parquet as pq
    except ImportError:
        sys.exit("recap_to_llava: needs pyarrow: pip install pyarrow")

    files = parquet_files(args.inputs)
    total = sum(open_parquet(pq, f)[0].metadata.num_rows for f in files)
    out = pathlib.Path(args.out)
    images = out / "images"
    images.mkdir(parents=True, exist_ok=True)
    part = out / "conversations.json.part"
    rows = records = bad = without = unmarked = 0
    names = set()
    begun = shown = time.time()
    with open(part, "w", encoding="utf-8") as json_file:
        json_file.write("[")
        for path in files:
            f, columns = open_parquet(pq, path)
            first = rows
            for batch in f.iter_batches(batch_size=BATCH, columns=columns):
                for row in batch.to_pylist():
                    rows += 1
                    try:
                        record, no_mark = record_of(row, images)
                    except BadRow as e:
                        bad += 1
                        if bad <= NAMED:
                            print(f"{path}: row {rows - 1 - first}, id {row.get('id')}: {e}", file=sys.stderr)
                        if bad > args.max_bad:
                            sys.exit(f"{path}: more than {args.max_bad} rows cannot be used; --max-bad allows more")
                        continue
                    json_file.write((",\n" if records else "\n") + json.dumps(record, ensure_ascii=False))
                    records += 1
                    unmarked += no_mark
                    without += "image" not in record
                    names.add(record.get("image"))
                if not args.quiet and sys.stderr.isatty() and time.time() - shown > 0.5:
                    shown = time.time()
                    show(rows, total, begun, "")
        json_file.write("\n]\n")
    if not args.quiet and sys.stderr.isatty():
        show(rows, total, begun, "\n")
    os.replace(part, out / "conversations.json")
    print(f"{out}: {records:,} records of {rows:,} rows, {without:,} without a picture; {len(names - {None}):,} pictures; "
          f"{bad:,} rows left out")
    if unmarked:
        print(f'{unmarked:,} records have a picture and no "<image>": set fix_placeholders: true for this set')


if __name__ == "__main__":
    main()
