"""Which of a port's bindings is reported."""

from worker.engine.answer import bound_ports


def test_a_port_is_reported_as_it_is_bound_on_ipv4():
    # As 20.10 answers now and then: the two bindings of one random port differ.
    assert bound_ports(
        {
            "8080/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}, {"HostIp": "::", "HostPort": "32769"}],
            "9090/tcp": [{"HostIp": "::", "HostPort": "32771"}, {"HostIp": "127.0.0.1", "HostPort": "32770"}],
            "53/udp": None,
        }
    ) == {"8080/tcp": 32768, "9090/tcp": 32770}
