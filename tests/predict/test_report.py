# SPDX-FileCopyrightText: 2026 The megafold authors
# SPDX-License-Identifier: Apache-2.0
"""report.html of a real run: whole, self-contained, and equal to summary.json."""

import json
import re
import shutil
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser

import pytest

VOID = {"meta", "link", "br", "input", "img", "hr"}
SVG_VOID = {"line", "path", "rect"}


class Page(HTMLParser):
    """Elements by id, their text, and what is wrong with the nesting."""

    def __init__(self, text):
        super().__init__()
        self.stack, self.text, self.ids, self.problems, self.attributes = [], {}, [], [], []
        self.feed(text)
        self.close()
        if self.stack:
            self.problems.append(f"not closed: {self.stack}")

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.attributes.append((tag, attrs))
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag not in VOID:
            self.stack.append((tag, attrs.get("id")))

    def handle_startendtag(self, tag, attrs):
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.stack or self.stack[-1][0] != tag:
            self.problems.append(f"</{tag}> closes {self.stack[-1:]}")
        else:
            self.stack.pop()

    def handle_data(self, data):
        for _, name in self.stack:
            if name:
                self.text[name] = self.text.get(name, "") + data


@pytest.fixture(scope="module")
def page(tiny_run):
    return Page((tiny_run / "report.html").read_text())


def test_is_well_formed_with_all_parts(page):
    assert not page.problems
    assert len(page.ids) == len(set(page.ids)), "an id twice"
    for part in (
        "view", "scene", "numbers", "lddt-by-residue", "plddt-by-residue", "pae",
        "chart-diffusion", "chart-loss", "chart-time", "chart-wait", "table", "facts", "h-next",
    ):  # fmt: skip
        assert part in page.ids, part


def test_asks_no_network(page, tiny_run):
    for tag, attributes in page.attributes:
        assert attributes.get("src", "data:").startswith("data:"), tag
        assert not attributes.get("href", "data:").startswith(("http", "//", "/")), tag
    assert not re.search(r"https?://|@import|url\(", (tiny_run / "report.html").read_text())


def test_numbers_are_those_of_the_summary(page, tiny_run):
    summary = json.loads((tiny_run / "summary.json").read_text())
    shown = json.loads(page.text["summary"])
    assert {k: shown[k] for k in summary} == summary
    assert f"{summary['lddt']:.3f}" in page.text["tile-lddt"]
    assert f"{summary['diffusion_mse_over_trivial']:.3f}" in page.text["tile-ratio"]
    last = [json.loads(s) for s in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    assert len([s for s in last if s["event"] == "step"]) == summary["steps"]


def test_the_scene_is_the_whole_entry(page):
    scene = json.loads(page.text["scene"])
    assert len(scene["elements"]) == 602
    assert len(scene["truth"]) == len(scene["predicted"]) == 3 * 602
    assert len(scene["residues"]) == 76
    assert len(scene["bonds"]) == 2 * 608  # ubiquitin's covalent bonds between heavy atoms


def test_pictures_are_named_for_screen_readers(page):
    pictures = [a for tag, a in page.attributes if tag == "svg"]
    assert len(pictures) > 5
    for attributes in pictures:
        assert attributes.get("role") == "img"
        assert len(attributes.get("aria-label", "")) > 20


def pixels(path):
    """Rows of (r, g, b) of an 8-bit PNG, which chromium writes."""
    data = path.read_bytes()
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert depth == 8 and kind in (2, 6)
    channels = 3 if kind == 2 else 4
    packed, at = b"", 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += 12 + length
    raw, stride = zlib.decompress(packed), width * channels
    rows, before = [], bytearray(stride)
    for y in range(height):
        kind, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1 :][:stride])
        for i in range(stride):
            a = row[i - channels] if i >= channels else 0
            b, c = before[i], before[i - channels] if i >= channels else 0
            p = a + b - c
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
            row[i] = (row[i] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
        rows.append([tuple(row[i : i + 3]) for i in range(0, stride, channels)])
        before = row
    return rows


@pytest.mark.full
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (500, False)])
def test_a_browser_draws_it(tiny_run, tmp_path, width, dark):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium: apt-get install chromium")
    picture = tmp_path / "page.png"
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    subprocess.run(
        [
            browser, "--headless=new", "--no-sandbox", "--hide-scrollbars", "--use-gl=angle",
            "--use-angle=swiftshader", "--enable-unsafe-swiftshader", *scheme,
            "--force-prefers-reduced-motion", f"--window-size={width},900",
            f"--screenshot={picture}", "--virtual-time-budget=4000",
            f"file://{tiny_run / 'report.html'}",
        ],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    rows = pixels(picture)
    assert len(rows[0]) == width
    corner = sum(rows[2][2]) / 3
    assert corner < 60 if dark else corner > 200, "the theme follows the system"
    assert len({p for row in rows[::3] for p in row[::3]}) > 200, "the structure is drawn"


def test_the_events_name_what_the_metrics_hold(tiny_run):
    (events,) = (tiny_run / "events").iterdir()
    data, tags, at = events.read_bytes(), [], 0
    while at < len(data):  # TFRecord: length, its checksum, the event, its checksum
        length = int.from_bytes(data[at : at + 8], "little")
        record = data[at + 12 : at + 12 + length]
        tags.append(re.findall(rb"(?:loss|optimizer|speed)/[a-z_]+(?=\x15)", record))
        assert record.count(b"\x15") >= len(tags[-1])
        at += length + 16
    lines = [json.loads(s) for s in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    steps = [s for s in lines if s["event"] == "step"]
    assert len(tags) == len(steps) + 1  # the file's version comes first
    for names, step in zip(tags[1:], steps):
        optional = {"bond", "plddt_loss", "pae_loss", "pde_loss", "resolved_loss"} & set(step)
        assert {f"loss/{n}".encode() for n in optional} <= set(names)
    assert b"loss/plddt_loss" in tags[1]


@pytest.mark.full
def test_tensorboard_reads_the_events(tiny_run, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "tensorboard==2.21.0"], check=True)
    script = (
        "import json, sys\n"
        "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
        "events = EventAccumulator(sys.argv[1])\n"
        "events.Reload()\n"
        "print(json.dumps({t: [[s.step, s.value] for s in events.Scalars(t)]\n"
        "                  for t in events.Tags()['scalars']}))\n"
    )
    done = subprocess.run(
        [python, "-c", script, tiny_run / "events"], check=True, capture_output=True, text=True
    )
    read = json.loads(done.stdout.splitlines()[-1])
    lines = [json.loads(s) for s in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    wanted = [[s["step"], s["loss"]] for s in lines if s["event"] == "step"]
    assert [s for s, _ in read["loss/total"]] == [s for s, _ in wanted]
    for (_, value), (_, loss) in zip(read["loss/total"], wanted):
        assert value == pytest.approx(loss, rel=1e-6)
