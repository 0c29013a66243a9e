"""Tables are aligned, whatever their cells contain."""

from eyesight.system.tables import csv_text, markdown_table, text_table


def test_columns_are_aligned_and_nothing_is_markup_or_wrapped():
    lines = text_table(["name", "n"], [["[bold]x[/bold]", "1"], ["y" * 300, "1,000"]]).splitlines()
    assert len(lines) == 3
    assert "[bold]x[/bold]" in lines[1]
    assert lines[1].endswith("    1") and lines[2].endswith("1,000")
    assert len(lines[1]) == len(lines[2])


def test_wide_letters_take_two_columns():
    first, second = text_table(["name", "n"], [["개", "1"], ["dog", "1"]]).splitlines()[1:]
    assert first.index("1") + 1 == second.index("1")


def test_markdown_escapes_what_would_end_a_cell():
    text = markdown_table(["name"], [["a|b\nc"]])
    assert text.splitlines() == ["| name |", "| --- |", "| a\\|b c |"]


def test_csv_quotes_commas():
    assert csv_text([("a,b", 1)]) == '"a,b",1\n'
