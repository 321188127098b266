import csv
import io

from scumble_bench.latency.records import Bench, Growth
from scumble_bench.reports.tables import csv_bytes, csv_files


def read(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_every_cell_is_a_line_with_its_numbers_in_full(bench: Bench):
    lines = read(csv_files(bench)["cells.csv"])
    assert [line["name"] for line in lines] == [cell.name for cell in bench.cells]
    for line, cell in zip(lines, bench.cells, strict=True):
        assert (int(line["height"]), int(line["width"])) == cell.size
        assert line["peer"] == ("true" if cell.peer else "false")
        assert line["failure"] == (cell.failure or "")
        assert tuple(map(float, line["every_seconds"].split())) == cell.seconds
        for name, of in (("ratio", cell.ratio), ("seconds", cell.spread)):
            for part in ("median", "p10", "p90"):
                told = line[f"{name}_{part}"]
                assert told == "" if of is None else float(told) == getattr(of, part)


def test_failed_cells_stay_and_peers_say_how_they_stand(bench: Bench):
    lines = {line["name"]: line["standing"] for line in read(csv_files(bench)["cells.csv"])}
    assert lines["MAG-Edit, tensorrt fp16"] == "failed"
    assert lines["a peer that draws something else"] == "disagrees"
    assert lines["a peer that nobody compared"] == "unchecked"


def test_stages_are_those_of_the_cells(bench: Bench):
    lines = read(csv_files(bench)["stages.csv"])
    told = [(line["name"], line["stage"], float(line["seconds_median"])) for line in lines]
    assert told == [
        (cell.name, one.stage, one.seconds.median) for cell in bench.cells for one in cell.stages
    ]


def test_variants_ceilings_and_loading(bench: Bench):
    files = csv_files(bench)
    variants = read(files["variants.csv"])
    assert [float(line["fraction_of_peak"] or "nan") for line in variants[:-1]] == [
        one.fraction_of_peak for one in bench.variants[:-1]
    ]
    assert variants[-1]["failure"] == "no GPU here"
    assert variants[-1]["seconds_median"] == ""
    assert [int(line["m"]) for line in read(files["ceilings.csv"])] == [1024, 2048]
    assert [line["export"] for line in read(files["loading.csv"])] == ["31.0", ""]


def test_targets_and_the_host_s_share(bench: Bench):
    files = csv_files(bench)
    assert [(line["verdict"], line["value"]) for line in read(files["targets.csv"])] == [
        ("met", "8.0"), ("not measured", ""),
    ]  # fmt: skip
    shares = [line["host_share_median"] for line in read(files["cells.csv"])]
    assert [share for share in shares if share] == ["0.015"]


def test_growth_has_a_line_a_point_and_keeps_what_has_none(bench: Bench):
    lines = read(csv_files(bench)["growth.csv"])
    assert len(lines) == sum(len(one.points) for one in bench.growth)
    first = bench.growth[0]
    assert first.fit is not None
    assert float(lines[0]["slope"]) == first.fit.slope
    assert float(lines[1]["seconds_p90"]) == first.points[1].seconds.p90
    broken = Growth(axis="rows", unit="row", engine="e", model="m", points=(), failure="why")
    (line,) = read(csv_files(bench.model_copy(update={"growth": (broken,)}))["growth.csv"])
    assert (line["x"], line["failure"]) == ("", "why")


def test_tables_without_a_line_are_left_out():
    empty = Bench(provenance={}, settings={}, baseline="x", cells=())
    assert list(csv_files(empty)) == ["cells.csv"]


def test_any_text_comes_back(bench: Bench):
    nasty = 'a "quoted", comma\nand line | é'
    assert read(csv_bytes([{"x": nasty, "y": None}])) == [{"x": nasty, "y": ""}]
    assert csv_bytes([{"x": 0.1 + 0.2}]) == b"x\n0.30000000000000004\n"
