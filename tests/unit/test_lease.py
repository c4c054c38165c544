"""A lease holds from before its proof began, and no proof outlives its being given up."""

from services.policy.lease import Lease


def test_a_lease_counts_from_before_its_proof():
    lease = Lease()
    assert not lease.holds(0.0)
    lease.extend(10.0, 5.0)
    assert lease.holds(14.9)
    assert not lease.holds(15.0)
    lease.extend(9.0, 5.0)
    assert lease.holds(14.9), "an older proof takes nothing away"


def test_a_proof_that_began_before_the_lease_was_given_up_does_not_bring_it_back():
    lease = Lease()
    lease.extend(10.0, 5.0)
    lease.drop(11.0)
    assert not lease.holds(11.0)
    lease.extend(10.9, 5.0)
    assert not lease.holds(11.0)
    lease.extend(11.0, 5.0)
    assert lease.holds(15.9)
