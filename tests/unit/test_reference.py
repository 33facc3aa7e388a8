import pytest

from worker.reference import ImageReference

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("acme/shop", "docker.io/acme/shop:latest"),
        ("index.docker.io/nginx", "docker.io/library/nginx:latest"),
        ("docker.io/acme/shop:1", "docker.io/acme/shop:1"),
        ("localhost/shop", "localhost/shop:latest"),
        ("127.0.0.1:5000/acme/shop:1.4.2", "127.0.0.1:5000/acme/shop:1.4.2"),
        ("Registry.Example.com/a/b__c-d.e", "registry.example.com/a/b__c-d.e:latest"),
        (f"acme/shop@{DIGEST}", f"docker.io/acme/shop@{DIGEST}"),
        (f"acme/shop:1@{DIGEST}", f"docker.io/acme/shop:1@{DIGEST}"),
    ],
)
def test_a_reference_is_read_as_docker_reads_it(text, normal):
    assert str(ImageReference.parse(text)) == normal


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "shop:",
        "shop:-1",
        "shop:a b",
        "Shop",
        "acme//shop",
        "/shop",
        "../shop",
        "shop/",
        "shop@sha256:12",
        "shop@",
        "shop@md5:00",
        "registry.example.com:port/shop",
        "http://registry.example.com/shop",
        "shop:" + "a" * 129,
        "a" * 256,
        "shop\n",
        "shop:1\n",
    ],
)
def test_what_is_no_reference_is_refused(text):
    with pytest.raises(ValueError, match="must be"):
        ImageReference.parse(text)


def test_a_digest_is_what_is_pulled_even_beside_a_tag():
    assert ImageReference.parse(f"acme/shop:1@{DIGEST}").version == DIGEST


def test_a_reference_without_tag_is_labelled_by_its_digest():
    assert ImageReference.parse(f"acme/shop@{DIGEST}").label == "0123456789ab"
