"""A headless Chromium, for the tests that look at Flower as people do, and for the pictures in the documentation."""

from compose import packages

PROGRAMS = ("chromium",)


def main() -> None:
    """Install the package where it is missing, as long as there is a way to where packages are.

    A private engine's services have a network of their own, which has none.
    """
    if packages.can_install():
        packages.ensure(PROGRAMS)


if __name__ == "__main__":
    main()
