"""The tables, the roles, and what comes back after an outage."""

import time

from tapeline.audit.verify import verify


def test_smoke(writer, database, keys):
    import sys

    sys.path.insert(0, "services/audit/tests")
    from conftest import decisions

    n = 20000
    recs = decisions(n)
    t = time.time()
    for i in range(0, n, 500):
        writer.write(recs[i : i + 500])
    dt = time.time() - t
    print("rows/s", n / dt)
    t = time.time()
    r = verify(database.app_url, "run-1", keys, writer.anchors())
    print("verify rows/s", n / (time.time() - t), r)
    import cProfile

    cProfile.runctx(
        "verify(database.app_url,'run-1',keys,writer.anchors())",
        globals(),
        locals(),
        sort="tottime",
    )
