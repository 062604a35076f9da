"""What memcheck.py takes for a fault."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import memcheck  # noqa: E402

ERROR = """<error><kind>{kind}</kind><stack>
<frame><ip>0x1</ip><obj>/usr/lib/libc.so.6</obj><fn>memcpy</fn></frame>
<frame><ip>0x2</ip><obj>{obj}</obj><fn>caller</fn><file>model.c</file><line>7</line></frame></stack></error>"""


def test_errors_with_a_frame_of_the_core_are_faults(tmp_path):
    core, other = "/x/kmerl/_kmerl.cpython-311-x86_64-linux-gnu.so", "/x/numpy/_multiarray_umath.so"
    made = "".join(ERROR.format(kind=kind, obj=obj) for kind, obj in (
        ("InvalidRead", core), ("UninitCondition", other), ("Leak_DefinitelyLost", core)))
    path = tmp_path / "valgrind.xml"
    path.write_text(f"<valgrindoutput>{made}</valgrindoutput>")
    frames = ["memcpy (libc.so.6)", "caller (model.c:7)"]
    assert memcheck.errors(path) == [("InvalidRead", frames, True), ("UninitCondition", frames, False),
                                     ("Leak_DefinitelyLost", frames, True)]
