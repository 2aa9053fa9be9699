"""The gallery's page."""

from spade_jax.commands.predict import gallery


def test_names_are_addresses_and_captions():
    page = gallery.page(
        [("a/50% #1", ["a/50% #1.png"])],
        classes=("<sky>", "unknown"),
        palette=[[1, 2, 3], [0, 0, 0]],
        step=7,
    )
    assert 'src="a/50%25%20%231.png" alt="a/50% #1.png"' in page
    assert 'rgb(1, 2, 3)">&lt;sky&gt;</li>' in page
    assert 'rgb(0, 0, 0)">unknown</li>' in page


def test_a_name_that_is_no_text_has_its_bytes_as_address():
    page = gallery.page([("a\udcff", ["a\udcff.png"])], classes=(), palette=[], step=7)
    assert 'src="a%FF.png" alt="a\ufffd.png"' in page
    page.encode()
