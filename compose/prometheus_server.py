"""Prometheus from Debian, for the tests that have it scrape a worker, and its tool that checks rules."""

from compose import packages

PROGRAMS = ("prometheus", "promtool")


def main() -> None:
    """Install the package where it is missing, as long as there is a way to where packages are.

    A private engine's services have a network of their own, which has none.
    """
    if packages.can_install():
        packages.ensure(PROGRAMS)


if __name__ == "__main__":
    main()
