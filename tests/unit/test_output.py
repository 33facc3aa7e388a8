"""What `dw` prints is what was said."""

from worker.cli import output


def test_what_looks_like_an_emoji_is_printed_as_it_is(capsys):
    output.show_error("StartFailed", "It ended.", {"logs": ["listening :rocket:"]}, as_json=False)
    output.show_table(("IMAGE",), [("acme/shop:rocket:",)], empty="")
    shown = capsys.readouterr()
    assert "listening :rocket:" in shown.err
    assert "acme/shop:rocket:" in shown.out
